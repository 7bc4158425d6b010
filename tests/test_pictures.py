"""The pictures: what is drawn is what was computed, and a person can find it."""

import json
import re
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain import drawing
from minigrad.explain.account import accounts
from minigrad.explain.expression import Number, Stage, Symbol
from minigrad.explain.layout import layouts
from minigrad.explain.page import page
from minigrad.explain.sketch import sketch
from minigrad.explain.trace import UNNAMED
from minigrad.explain.writers import Text
from minigrad.testing.programs import draw_program
from models import LSTM, __main__
from models.explaining import named_lstm

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "</script><script>document.title='broken'</script>&\"'<2>"


@pytest.fixture(scope="module")
def error():
    return named_lstm(4, 3, 2, 1)[0]


def perceptron():
    rng = np.random.default_rng(1)
    W, V = (mg.tensor(rng.normal(size=s), requires_grad=True, name=n) for n, s in (("W", (4, 3)), ("V", (2, 4))))
    h = mg.tanh((W @ mg.tensor(rng.normal(size=3), name="x")).named("sum")).named("h")
    return mg.squared_error((V @ h).named("ŷ"), rng.normal(size=2)).sum() + 0.1 * (W * W).sum()


def two_layers():
    rng = np.random.default_rng(2)
    outputs, _ = LSTM(2, 3, layers=2, dtype=np.float64, rng=rng)(rng.normal(size=(3, 2, 2)), named=True)
    return mg.sum(outputs**2)


def anonymous():
    x = mg.tensor([0.3, 0.2], requires_grad=True)
    return (mg.sin(x) * x + mg.exp(x * x)).sum()


def recurrent(T=5, far=True):
    """A plain recurrent network, its errors stacked: links that pass over blocks."""
    rng = np.random.default_rng(3)
    W = mg.tensor(rng.normal(size=(3, 3)) / 2, requires_grad=True, name="W")
    h = mg.tensor(rng.normal(size=3), requires_grad=True, name="h<0>")
    errors = []
    for t in range(1, T + 1):
        h = mg.tanh((W @ h + rng.normal(size=3)).named(f"sum<{t}>")).named(f"h<{t}>")
        errors.append(mg.squared_error(h, rng.normal(size=3)).sum().named(f"Error<{t}>"))
    return mg.sum(mg.stack(errors))


def hub():
    """A leaf with many uses, and nothing named."""
    x = mg.tensor(0.5, requires_grad=True)
    y = x
    for _ in range(60):
        y = mg.sin(y) * x
    return y


def several_outputs():
    u, s, _ = mg.linalg.svd(mg.tensor(np.random.default_rng(0).normal(size=(3, 3)), requires_grad=True, name="M"))
    return (s * s).sum() + u.sum()


def backwards_in_time():
    """What is computed from later steps, and a stage that serves all of them."""
    A = mg.tensor(np.eye(2), requires_grad=True, name="A")
    twice, h = (2.0 * A).named("twice"), mg.tensor(np.zeros(2), requires_grad=True, name="h<4>")
    for t in (3, 2, 1):
        h = mg.tanh(twice @ h + mg.tensor([0.1 * t, 1.0], name=f"x<{t}>")).named(f"h<{t}>")
    return h.sum().named("loss")


GRAPHS = {"lstm": lambda: named_lstm(4, 3, 2, 1)[0], "batch": lambda: named_lstm(3, 2, 3, 4)[0],
          "long": lambda: named_lstm(25, 2, 2, 1)[0], "one step": lambda: named_lstm(1, 3, 2, 2)[0],
          "perceptron": perceptron, "two layers": two_layers, "anonymous": anonymous, "recurrent": recurrent,
          "hub": hub, "several outputs": several_outputs, "backwards in time": backwards_in_time}  # fmt: skip


def laid_out(y, view=None):
    drawn = sketch(y)
    return next(layouts(drawn, drawing._sizes(drawn), [view]))


def shown(svg):
    """What stands in the boxes of a drawing: (lines by class, frame) for each."""
    boxes = []
    for g in ET.fromstring(svg).iter(f"{SVG}g"):
        if g.get("data-box"):
            frame = g.find(f"{SVG}rect")
            frame = tuple(float(frame.get(k)) for k in ("x", "y", "width", "height")) if frame is not None else None
            boxes.append(({t.get("class"): t.text for t in g.iter(f"{SVG}text")}, frame))
    return boxes


def numbers(text):
    return [float(n.replace("−", "-")) for n in re.findall(r"−?\d+(?:\.\d+)?(?:e−?\d+)?", text)]


# --- what is drawn ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS)
def test_no_box_overlaps_another_and_no_line_runs_across_one(name):
    y = GRAPHS[name]()
    done = laid_out(y)
    spots = list(done.spots.values())
    for a, b in combinations(spots, 2):
        assert a.right <= b.left or b.right <= a.left or a.bottom <= b.top or b.bottom <= a.top, (a.box.name, b.box.name)
    for spot in spots:
        assert spot.left >= 0
        assert spot.right <= done.width
        assert spot.top >= 0
        assert spot.bottom <= done.height
    for route in done.routes:
        assert all(0 <= x <= done.width and 0 <= y <= done.height for x, y in route.points)
        for (x1, y1), (x2, y2) in pairwise(route.points):
            if x1 != x2 and y1 != y2:
                continue  # a curve stays between two rows
            for s in spots:
                apart = (max(x1, x2) <= s.left + 1 or min(x1, x2) >= s.right - 1
                         or max(y1, y2) <= s.top + 1 or min(y1, y2) >= s.bottom - 1)  # fmt: skip
                assert apart, (route.link.source.name, route.link.target.name, s.box.name)


@pytest.mark.parametrize("y", [
    lambda x: x, lambda x: mg.positive(x).named("y"), lambda x: x * x, lambda x: (x * np.zeros((0, 3))).sum(),
    lambda x: (x * 0.0 * mg.tensor(np.inf)).sum()], ids=["leaf", "named", "square", "empty", "nan"])  # fmt: skip
def test_the_smallest_graphs_can_be_drawn(y, tmp_path):
    with np.errstate(invalid="ignore"):
        derivation = mg.explain(y(mg.tensor(2.0, requires_grad=True, name="x")))
        ET.fromstring(derivation.svg())
        derivation.html(tmp_path / "p.html")
        assert derivation.dot().startswith("digraph")


@pytest.mark.parametrize("name", GRAPHS)
def test_a_page_of_every_graph(name):
    text = page(sketch(GRAPHS[name]()))
    for picture in re.findall(r"<svg.*?</svg>", text, re.S):
        ET.fromstring(picture)
    assert UNNAMED not in text


@pytest.mark.parametrize("seed", range(30))
def test_random_programs_can_be_drawn(seed):
    program = draw_program(np.random.default_rng(seed))
    y = program(*(mg.tensor(x, requires_grad=True, name=f"x{k}") for k, x in enumerate(program.leaves())))
    done = laid_out(y)
    for a, b in combinations(done.spots.values(), 2):
        assert a.right <= b.left or b.right <= a.left or a.bottom <= b.top or b.bottom <= a.top
    ET.fromstring(drawing.svg(sketch(y)))


def test_every_name_stands_in_the_drawing_once(error):
    drawn = [lines["name"] for lines, _ in shown(mg.explain(error).svg()) if "name" in lines]
    assert sorted(drawn) == sorted(mg.graph.named(error._node))


def test_values_and_adjoints_are_those_of_autodiff(error):
    nodes = mg.graph.named(error._node)
    seen = 0
    for lines, _ in shown(mg.explain(error).svg()):
        if "adjoint" not in lines or nodes[lines["name"]].value.size > drawing.SHORT:
            continue
        for line, array in ((lines["value"], nodes[lines["name"]].value),
                            (lines["adjoint"], mg.ledger(error, lines["name"]).gradient)):  # fmt: skip
            np.testing.assert_allclose(numbers(line), np.ravel(array), rtol=5e-3, atol=5.1e-3)
        seen += 1
    assert seen > 50


def test_the_branches_of_a_fork_carry_their_contributions(error):
    root = ET.fromstring(mg.explain(error).svg())
    key = {t.text: g.get("data-box") for g in root.iter(f"{SVG}g") for t in g.iter(f"{SVG}text") if t.get("class") == "name"}
    branches = [[t.text for t in g.iter(f"{SVG}text")] for g in root.iter(f"{SVG}g")
                if g.get("class") == "branch" and g.get("data-from") == key["c<2>"]]  # fmt: skip
    book = mg.ledger(error, "c<2>")
    assert len(branches) == len(book) == 2
    found = {share: numbers(text) for text, share in branches}
    for entry in book:
        np.testing.assert_allclose(found[f"{entry.share:.0%}".replace("%", " %")], np.ravel(entry.array), atol=5.1e-3)


def test_the_block_is_the_papers(error):
    done = laid_out(error)
    at = {box.name: spot for box, spot in done.spots.items()}
    gates = [at[f"{g}<2>"] for g in ("Γ_f", "Γ_u", "c̃", "Γ_o")]
    assert [s.x for s in gates] == sorted(s.x for s in gates), "gates from left to right: f, u, c, o"
    assert len({s.y for s in gates}) == 1
    for g in "fuco":
        assert at["z<2>"].y > at[f"sum_{g}<2>"].y > gates[0].y > at["c<2>"].y, "upwards: z, sums, gates, c"
    assert len({at[f"c<{t}>"].y for t in range(5)}) == 1, "c runs along the top, straight"
    assert at["x<2>"].y > at["z<2>"].y
    assert at["a<2>"].x > at["Γ_o<2>"].x, "a at the right"
    assert at["a<2>"].y > at["tanh_c<2>"].y > at["c<2>"].y
    (along,) = [r for r in done.routes if r.link.source.name == "c<2>" and r.link.target.step == 3]
    assert len(along.points) == 2
    assert along.points[0][1] == along.points[1][1]
    assert at["W_f"].y > done.bottom, "what serves every step stands below"


def test_unnamed_stages_are_folded_unless_values_meet(error):
    drawn = sketch(error)
    names = [box.name for box in drawn.boxes if box.step == 2]
    assert [n for n in names if "<" not in n] == ["⊙", "⊙", "squared_error", "+"]
    (total,) = [box for box in drawn.boxes if box.name == "sum_f<2>"]
    assert [s.op.name for s in total.stages] == ["matmul", "reshape", "add"]
    assert [box.name for box in total.shared] == ["W_f", "b_f"]


def test_many_time_steps_are_folded():
    y = named_lstm(25, 2, 2, 1)[0]
    done = laid_out(y)
    assert [block.steps for block in done.blocks if len(block.steps) > 1] == [tuple(range(3, 24))]
    assert {b.step for b in done.spots if b.name.startswith("z")} == {1, 25}
    assert {b.name for b in laid_out(y, [7]).spots if b.name.startswith("z")} == {"z<7>"}


def test_the_same_graph_gives_the_same_drawing():
    assert len({mg.explain(named_lstm(3, 2, 2, 1)[0]).svg() for _ in range(2)}) == 1


def test_dot(error, tmp_path):
    text = mg.explain(error).dot()
    assert text.count("{") == text.count("}") == 6  # the graph, and t = 0 … 4
    assert len(re.findall(r"^ +s\d+ \[label=", text, re.M)) == len(sketch(error).boxes)
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    (tmp_path / "g.dot").write_text(text, encoding="utf-8")
    subprocess.run(["dot", "-Tsvg", "-o", tmp_path / "g.svg", tmp_path / "g.dot"], check=True, timeout=60)


def test_names_are_text_in_every_drawing(tmp_path):
    x = mg.tensor([1.0, 2.0], requires_grad=True, name=NASTY)
    derivation = mg.explain((x * x).named('a"b\\').sum())
    assert NASTY in [lines.get("name") for lines, _ in shown(derivation.svg())]
    assert r'"a\"b\\' in derivation.dot()
    derivation.html(tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2
    steps = json.loads(re.search(r'id="steps">(.*?)</script>', text, re.S)[1])
    assert any(NASTY in step["text"] for step in steps["steps"])


# --- what is said ------------------------------------------------------------------------------


def evaluated(expr, known):
    if isinstance(expr, Symbol):
        return known[expr.name]
    if isinstance(expr, Number):
        return np.full(expr.shape, expr.value)
    assert isinstance(expr, Stage)
    return expr.op.forward(*(evaluated(p, known) for p in expr.parts), **expr.params)


def test_each_formula_gives_the_numbers_beside_it(error):
    drawn = sketch(error)
    known = {box.name: box.value for box in drawn.boxes if not box.sign}
    known |= {f"δ{box.name}": box.adjoint for box in drawn.boxes if not box.sign and box.ledger is not None}
    seen = 0
    for box, account in accounts(drawn).items():
        if account.forward is not None:
            np.testing.assert_allclose(evaluated(account.forward, known), box.value, rtol=1e-13, atol=1e-15)
        for entry, expr in zip(box.ledger or (), account.contributions, strict=True):
            got = np.broadcast_to(evaluated(expr, known), entry.array.shape)
            np.testing.assert_allclose(got, entry.array, rtol=1e-12, atol=1e-15)
            seen += 1
    assert seen > 100


def test_local_derivatives_are_the_papers(error):
    write = Text().write
    said = {box.name: {d.name: (write(d.expr), d.itself) for d in account.local}
            for box, account in accounts(sketch(error)).items() if not box.sign}  # fmt: skip
    assert said["c<3>"] == {"c<2>": ("Γ_f<3>", True), "Γ_f<3>": ("c<2>", True),
                            "Γ_u<3>": ("c̃<3>", True), "c̃<3>": ("Γ_u<3>", True)}  # fmt: skip
    assert said["Γ_f<2>"] == {"sum_f<2>": ("Γ_f<2> ⊙ (1 − Γ_f<2>)", True)}
    assert said["c̃<2>"] == {"sum_c<2>": ("1 − c̃<2>²", True)}
    assert said["sum_f<2>"]["z<2>"] == ("W_fᵀ @ δsum_f<2>", False)


def test_the_page_is_one_file(error, tmp_path):
    derivation = mg.explain(error)
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    derivation.html(path)
    text = path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert not re.search(r"""\b(src|srcset|data-src)=|@import|url\(|<link|<iframe|fetch\(|XMLHttp""", text)
    outside = set(re.findall(r"https?://[^\"'\s<)]+", text)) - {"http://www.w3.org/2000/svg"}
    assert not outside
    assert text.count("<math") > 300
    assert "@" not in re.sub(r"<(style|script)\b.*?</\1>|<math.*?</math>|<svg.*?</svg>", "", text, flags=re.S)


def test_a_page_with_a_seed_and_no_scalar(tmp_path):
    x = mg.tensor([1.0, 2.0, 3.0], requires_grad=True, name="x")
    y = mg.tanh(x).named("y")
    text = page(sketch(y, np.array([1.0, 0.5, 0.0])))
    assert "δy = 1.00 0.50 0.00" in text


def test_pictures_of_a_freed_graph_say_so():
    x = mg.tensor([1.0], requires_grad=True, name="x")
    y = mg.tanh(x).sum()
    derivation = mg.explain(y)
    y.backward()
    with pytest.raises(mg.errors.GraphError, match="freed"):
        derivation.svg()


# --- the flow of the gradient ----------------------------------------------------------------


def test_the_flow_has_the_norms_of_the_adjoints(error):
    flow = mg.flow(error)
    assert flow.steps == (0, 1, 2, 3, 4)
    assert flow.rows[:4] == ("Error<t>", "a<t>", "tanh_c<t>", "c<t>")
    for family in ("a", "c", "sum_f", "Γ_u"):
        for t in range(1, 5):
            norm = np.linalg.norm(mg.ledger(error, f"{family}<{t}>").gradient)
            assert flow[f"{family}<t>"][t] == pytest.approx(norm, rel=1e-14)
    assert np.isnan(flow["z<t>"][0])
    assert f"{flow['c<t>'][2]:.2e}" in str(flow)
    assert len(set(map(len, str(flow).replace("c̃", "c").splitlines()))) == 1


def test_vanishing_and_exploding_are_seen(tmp_path):
    pytest.importorskip("matplotlib")
    for factor in (0.1, 10.0):
        h = mg.tensor([1.0, 2.0], requires_grad=True, name="h<0>")
        for t in range(1, 9):
            h = (factor * h).named(f"h<{t}>")
        flow = mg.flow(h.sum())
        np.testing.assert_allclose(flow["h<t>"], np.sqrt(2) * factor ** np.arange(8, -1, -1), rtol=1e-13)
        flow.plot(tmp_path / f"{factor}.png")
    dead = mg.tensor([1.0], requires_grad=True, name="$h<0>")
    mg.flow((dead * 0.0).named("$h<1>").sum()).plot(tmp_path / "dead.svg")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_flow_without_time_steps_is_refused():
    with pytest.raises(mg.errors.GraphError, match="named"):
        mg.flow(perceptron())


# --- the command -------------------------------------------------------------------------------


def test_explain_writes_what_is_asked_for(tmp_path, capsys):
    names = ["p.html", "p.svg", "p.dot", "p.png"]
    words = [w for kind, n in zip(("html", "svg", "dot", "flow"), names, strict=True) for w in (f"--{kind}", str(tmp_path / n))]
    assert __main__.main(["explain", "--T", "3", "--batch", "2", *words]) == 0
    assert "δc<t> = δa<t> ⊙ Γ_o<t> ⊙ (1 − tanh(c<t>)²) + δc<t+1> ⊙ Γ_f<t+1>" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    assert __main__.main(["explain", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    error, cell = named_lstm(4, 3, 2, 1)
    error.backward()
    assert report["gradients"]["W_c"] == cell.W_c.grad.data.tolist()
    assert report["flow"]["norms"][0][0] is None
    assert __main__.main(["explain", "--T", "0"]) == 2


# --- the page in a browser ---------------------------------------------------------------------

CHROMIUM = [shutil.which(name) for name in ("chromium", "chromedriver")]
FLAGS = ("--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
         "--disable-component-update --disable-sync --force-prefers-reduced-motion --window-size=1400,900")  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if not all(CHROMIUM):
        pytest.skip("Chromium and its driver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMIUM[1]))
        yield driver
        driver.quit()


@pytest.fixture(scope="module")
def opened(browser, error, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "lstm page.html"
    mg.explain(error).html(path)
    browser.get("about:blank")
    browser.get_log("performance")  # what the browser did by itself
    browser.get(path.as_uri())
    return browser


def js(browser, script, *arguments):
    return browser.execute_script("return " + script, *arguments)


def status(browser):
    return js(browser, "document.getElementById('status').textContent")


def press(browser, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(browser).send_keys(*keys).perform()


def key_of(browser, name):
    return js(browser, "[...document.querySelectorAll('.view:last-of-type .box')].find(b => "
                       "b.querySelector('.name')?.textContent === arguments[0]).dataset.box", name)  # fmt: skip


@pytest.mark.browser
def test_the_page_loads_without_error_or_network(opened):
    assert status(opened).startswith("Step 1 of ")
    assert opened.get_log("browser") == []
    asked = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert urls == [opened.current_url]


@pytest.mark.browser
def test_the_slider_moves_by_keys_and_mouse(opened):
    from selenium.webdriver import ActionChains, Keys

    press(opened, Keys.HOME)
    total = int(js(opened, "document.getElementById('step').max"))
    assert status(opened).startswith(f"Step 1 of {total + 1}, forward: z<1>")
    press(opened, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert status(opened).startswith("Step 3 of ")
    press(opened, "r")
    assert "reverse: δError = 1" in status(opened)
    press(opened, Keys.END)
    assert status(opened).startswith(f"Step {total + 1} of {total + 1}, reverse: δW_f")
    slider = opened.find_element("id", "step")
    ActionChains(opened).move_to_element_with_offset(slider, 0, 0).click().perform()
    middle = int(js(opened, "document.getElementById('step').value"))
    assert abs(middle - total / 2) < total / 10
    assert status(opened).startswith(f"Step {middle + 1} of ")
    opened.find_element("id", "next").click()
    assert status(opened).startswith(f"Step {middle + 2} of ")
    js(opened, "arguments[0].focus()", slider)
    press(opened, Keys.ARROW_LEFT)
    assert status(opened).startswith(f"Step {middle + 1} of "), "one step a key, also on the slider"


@pytest.mark.browser
def test_the_ledger_of_c2_shows_two_branches_with_the_right_numbers(opened, error):
    from selenium.webdriver import Keys

    press(opened, Keys.HOME)
    while "forward: c<2>" not in status(opened):
        press(opened, Keys.ARROW_RIGHT)
    key = key_of(opened, "c<2>")
    box = opened.find_element("css selector", f".view:not([hidden]) [data-box={key}]")
    box.click()
    section = opened.find_element("id", f"about-{key}")
    assert section.is_displayed()
    rows = js(opened, "[...arguments[0].querySelectorAll('.ledger > tbody > tr:not(.numbers)')].map(r => "
                      "[r.children[0].textContent, r.nextSibling.querySelector('math').textContent, parseInt(r.children[2].textContent), "
                      "[...r.nextSibling.querySelectorAll('td td')].map(d => [d.textContent, +d.title])])", section)  # fmt: skip
    book = mg.ledger(error, "c<2>")
    assert [row[0] for row in rows] == ["c<3>", "tanh_c<2>"] == [e.via for e in book]
    for (_, formula, share, cells), entry in zip(rows, book, strict=True):
        assert share == round(100 * entry.share)
        assert [exact for _, exact in cells] == np.ravel(entry.array).tolist()
        np.testing.assert_allclose([float(text.replace("−", "-")) for text, _ in cells], np.ravel(entry.array), rtol=1e-3)
        assert formula.startswith("δ")
    assert "δc⟨3⟩⊙Γf⟨3⟩" in rows[0][1].replace("\u2009", "")


@pytest.mark.browser
def test_time_steps_fold_and_unfold(opened):
    from selenium.webdriver import Keys

    def gates():
        return js(opened, "[...document.querySelectorAll('.view:not([hidden]) .name')].map(n => n.textContent)"
                          ".filter(n => n.startsWith('Γ_f'))")  # fmt: skip

    press(opened, Keys.HOME)
    assert gates() == ["Γ_f<1>"]
    opened.find_element("id", "unfold").click()
    assert gates() == ["Γ_f<1>", "Γ_f<2>", "Γ_f<3>", "Γ_f<4>"]
    opened.find_element("id", "unfold").click()
    press(opened, "r")
    assert gates() == ["Γ_f<4>"]
    opened.find_element("css selector", ".view:not([hidden]) .step[data-step='3']").click()
    assert gates() == ["Γ_f<3>"]


@pytest.mark.browser
def test_dark_and_light(opened):
    from selenium.webdriver.support.wait import WebDriverWait

    def media(scheme):
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def bright(driver):
        return sum(map(int, re.findall(r"\d+", js(driver, "getComputedStyle(document.body).backgroundColor"))[:3])) > 600

    wait = WebDriverWait(opened, 10, 0.02)  # the page hears of it by an event
    media("light")
    wait.until(bright)
    media("dark")
    wait.until_not(bright)
    opened.find_element("id", "theme").click()
    assert bright(opened)
    media("light")


@pytest.mark.browser
def test_everything_that_can_be_operated_has_a_name(opened):
    opened.execute_cdp_cmd("Accessibility.enable", {})
    nodes = opened.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    operated = [n for n in nodes if not n["ignored"] and n["role"]["value"] in ("button", "slider", "checkbox", "link", "region")]
    assert {n["role"]["value"] for n in operated} >= {"button", "slider", "checkbox", "link"}
    assert len(operated) > 25
    assert not [n for n in operated if not n.get("name", {}).get("value")]
    assert [n for n in nodes if n.get("role", {}).get("value") == "status"], "the step is announced"


@pytest.mark.browser
def test_a_box_is_chosen_by_keyboard(opened):
    from selenium.webdriver import Keys

    press(opened, Keys.HOME)
    key = key_of(opened, "c<1>")
    js(opened, f"document.querySelector('.view:not([hidden]) [data-box={key}]').focus()")
    press(opened, Keys.ENTER)
    assert opened.find_element("id", f"about-{key}").is_displayed()
    assert status(opened).startswith("Step 1 of ")


@pytest.mark.browser
def test_no_name_can_break_the_page(browser, tmp_path):
    x = mg.tensor([1.0, 2.0], requires_grad=True, name=NASTY)
    mg.explain((x * x).named("<img src=x onerror=alert(1)>").sum().named("</title>")).html(tmp_path / "n.html")
    browser.get(Path(tmp_path / "n.html").as_uri())
    assert browser.title == "Backpropagation through </title>"
    assert status(browser).startswith("Step 1 of ")
    assert browser.get_log("browser") == []
    assert js(browser, "document.querySelectorAll('img').length") == 0
