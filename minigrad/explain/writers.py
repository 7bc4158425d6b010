"""Expressions written out: plain text, LaTeX, MathML.

How a stage is written comes from its record: ``notation="{} ⊙ {}"`` for those that have a
sign of their own, ``name(arguments)`` for all others.  A writer knows signs, never ops.
Brackets go where the signs need them, the same in every writing.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from string import Formatter
from typing import Any, NamedTuple
from unicodedata import name as unicode_name
from unicodedata import normalize
from xml.sax.saxutils import escape

import numpy as np

from ..op import Op
from .expression import Expr, Number, Stage, Symbol, Total, within

LOGIC, RELATION, SUM, PRODUCT, SIGN, POWER, ATOM = range(7)
"""How tightly an expression holds together."""

SIGNS = {**dict.fromkeys((" ∧ ", " ∨ ", " & ", " | "), LOGIC),
         **dict.fromkeys((" < ", " ≤ ", " > ", " ≥ ", " = ", " ≠ "), RELATION),
         " + ": SUM, " − ": SUM, " ⊙ ": PRODUCT, " / ": PRODUCT, "1 / ": PRODUCT, " @ ": PRODUCT, " ⊗ ": PRODUCT,
         "−": SIGN,
         "¬": SIGN, "^": POWER, "²": POWER, "ᵀ": POWER, "|": ATOM, "[": ATOM, "]": ATOM}  # fmt: skip
PLAIN = (bool, int, float, complex, str, tuple, list, type, np.generic, type(None))


FEW = 4
"""So many numbers are shown in full."""


class Written(NamedTuple):
    """A formula, how tightly it holds, and the sign that holds it."""

    text: str
    strength: int = ATOM
    sign: str = ""


class Name(NamedTuple):
    """What the name of a node is made of: ``δlayer1/Γ_f<2>``."""

    adjoint: bool
    scope: str
    base: str
    below: str
    above: str


def parse(name: str) -> Name:
    """Take the name of a node apart; what has no such parts is all base."""
    found = re.fullmatch(r"(δ?)(?:(.+)/)?([^\W\d_][^\W\d_\u0303₀-₉]*\u0303?)_?(\w*?)(?:<([^<>]*)>)?", name)
    if found is None:
        return Name(False, "", name, "", "")
    adjoint, scope, base, below, above = found.groups("")
    return Name(bool(adjoint), scope, base, normalize("NFKC", below), above)


class Text:
    """Plain text, and what the writings have in common.

    Parameters
    ----------
    longest : int
        What is longer, in characters, is left out: …
    """

    exact = False
    """Whether ``a ⊙ (b ⊙ c)`` keeps its brackets."""
    braces = False
    """Whether an exponent needs no brackets."""

    def __init__(self, longest: int = sys.maxsize) -> None:
        self.longest = longest

    # what a writing decides
    def symbol(self, name: str) -> str:
        return name

    def number(self, value: Any) -> str:
        return plain(value)

    def word(self, text: str) -> str:
        return text

    def sign(self, sign: str) -> str:
        return sign

    def power(self, base: str, exponent: str) -> str:
        return base + ("²" if exponent == "2" else f"^{exponent}")

    def transposed(self, base: str) -> str:
        return base + "ᵀ"

    def raised(self, name: str) -> bool:
        """Whether a name is written with a superscript, or as two, so that a power needs brackets."""
        return False

    def magnitude(self, inner: str) -> str:
        return f"|{inner}|"

    def element(self, base: str, index: Sequence[str]) -> str:
        return f"{base}[{', '.join(index)}]"

    def total(self, term: str, first: int, last: int) -> str:
        return f"Σ_t {term}"

    def call(self, stage: Stage, parts: list[str]) -> str:
        params = [f"{key}={plain(value)}" for key, value in stage.params.items()
                  if key != "index" and told(stage.op, key, value)]  # fmt: skip
        if "index" in stage.params:
            count = stage.params["index"].count("ARRAY")
            index = self._index(stage.params["index"], [Written(p) for p in parts[len(parts) - count :]])
            params.append(f"index=[{', '.join(index)}]")
            parts = parts[: len(parts) - count]
        return self.applied(stage.op.name.removeprefix("linalg."), parts + [self.word(p) for p in params])

    def applied(self, name: str, arguments: Sequence[str]) -> str:
        return f"{name}({', '.join(arguments)})"

    def brackets(self, inner: str) -> str:
        return f"({inner})"

    def key(self, key: Any) -> str:
        """A piece of an index: ``1:``, ``…``."""
        if isinstance(key, slice):
            start = None if key.start == 0 and key.step in (None, 1) else key.start
            ends = ["" if end is None else plain(end) for end in (start, key.stop, key.step)]
            return ":".join(ends if ends[2] else ends[:2])
        return "…" if key is Ellipsis else plain(key)

    def knows(self, sign: str) -> bool:
        return True

    # what follows
    def write(self, root: Expr) -> str:
        """The formula of an expression."""
        return self.written(root).text

    def written(self, root: Expr) -> Written:
        done: dict[int, Written] = {}
        for expr in within(root):
            if isinstance(expr, Stage):
                text = self._stage(expr, [done[id(part)] for part in expr.parts])
            elif isinstance(expr, Number):
                text = self._number(expr)
            elif isinstance(expr, Total):
                text = Written(self.total(self._within(done[id(expr.term)], PRODUCT), expr.first, expr.last), SUM, " + ")
            else:
                text = Written(self.symbol(expr.name))
            done[id(expr)] = text if len(text.text) <= self.longest else Written(self.word("…"))
        return done[id(root)]

    def _number(self, expr: Number) -> Written:
        text = self.number(expr.value)
        return Written(text, ATOM if text[0] not in "−-" else SIGN, "−")

    def _stage(self, stage: Stage, parts: list[Written]) -> Written:
        square = stage.op.name == "multiply" and stage.parts[0] == stage.parts[1]
        notation = "{}²" if square else stage.op.notation
        pieces = [(sign, field) for sign, field, _, _ in Formatter().parse(notation)]
        signs = [sign for sign, _ in pieces if sign]
        if not notation or not all(sign in SIGNS and self.knows(sign) for sign in signs):
            return Written(self.call(stage, [part.text for part in parts]))
        if square:
            parts = parts[:1]
        head = signs[0]
        if head == "[":
            return Written(self.element(self._within(parts[0], ATOM), self._index(stage.params[str(pieces[1][1])], parts[1:])))
        if head == "|":
            return Written(self.magnitude(parts[0].text))
        strength = SIGNS[head]
        first = stage.parts[0]
        raised = isinstance(first, Symbol) and self.raised(first.name)
        base = self.brackets(parts[0].text) if raised else self._within(parts[0], ATOM)
        if head == "²":
            return Written(self.power(base, "2"), POWER, head)
        if head == "ᵀ":
            return Written(self.transposed(base), POWER, head)
        if head == "^":
            p = pieces[1][1]
            exponent = self._number(Number(stage.params[p])) if p else parts[1]
            above = exponent.text if self.braces else self._within(exponent, SIGN if p else ATOM)
            return Written(self.power(base, above), POWER, head)
        if len(parts) == 1:  # a sign in front
            inner = self._within(parts[0], SIGN if head == "¬" else strength + (head == "1 / "))
            return Written(self.sign(head) + inner, strength, head)
        left, right = parts
        return Written(self._beside(left, head, False) + self.sign(head) + self._beside(right, head, True), strength, head)

    def _beside(self, part: Written, sign: str, right: bool) -> str:
        """An operand as its sign needs it: a − (b + c), a / (b ⊙ c), (A @ B) ⊙ c, a − (−b)."""
        strength = SIGNS[sign]
        if strength == LOGIC:
            return self._within(part, SUM)
        mixed = strength == PRODUCT and part.strength == PRODUCT and _kind(sign) != _kind(part.sign)
        order = right and (sign in (" − ", " / ") or self.exact)
        bracket = part.strength < strength + order or mixed or right and SIGN == part.strength > strength > RELATION
        return self.brackets(part.text) if bracket else part.text

    def _within(self, part: Written, strength: int) -> str:
        return part.text if part.strength >= strength else self.brackets(part.text)

    def _index(self, index: Any, arrays: list[Written]) -> list[str]:
        remaining = iter(arrays)
        keys = index if isinstance(index, tuple) else (index,)
        return [next(remaining).text if key == "ARRAY" else self.word(self.key(key)) for key in keys] or [self.word("()")]


class Latex(Text):
    """LaTeX for math mode, with amsmath."""

    braces = True

    signs = {" ⊙ ": r" \odot ", " − ": " - ", "−": "-", " @ ": r"\, ", " ⊗ ": r" \otimes ", " ≤ ": r" \le ", " ≥ ": r" \ge ", " ≠ ": r" \ne ",
             " ∧ ": r" \wedge ", " ∨ ": r" \vee ", "¬": r"\neg ", " & ": r" \mathbin{\&} ",
             " | ": r" \mathbin{|} "}  # fmt: skip

    def symbol(self, name: str) -> str:
        adjoint, scope, base, below, above = parse(name)
        text = r"\delta " * adjoint + (rf"\text{{{_latex_text(scope + '/')}}}" if scope else "") + _latex_base(base)
        text += f"_{{{_latex_base(below)}}}" if below else ""
        return text + (rf"^{{\langle {_latex_text(above)}\rangle}}" if above else "")

    def number(self, value: Any) -> str:
        text = plain(value).replace("−", "-").replace("inf", r"\infty").replace("nan", r"\mathrm{NaN}")
        mantissa, e, exponent = text.partition("e")
        if not e or not mantissa.lstrip("-").replace(".", "").isdigit():
            return self.word(text) if text.isalpha() else text
        return rf"({mantissa} \cdot 10^{{{int(exponent)}}})"

    def word(self, text: str) -> str:
        return rf"\text{{{_latex_text(text)}}}"

    def sign(self, sign: str) -> str:
        return self.signs.get(sign, sign)

    def power(self, base: str, exponent: str) -> str:
        return f"{{{base}}}^{{{exponent}}}"

    def raised(self, name: str) -> bool:
        parts = parse(name)
        return bool(parts.above) or parts.adjoint

    def transposed(self, base: str) -> str:
        return rf"{{{base}}}^{{\mathsf T}}"

    def magnitude(self, inner: str) -> str:
        return rf"\left|{inner}\right|"

    def element(self, base: str, index: Sequence[str]) -> str:
        return f"{{{base}}}_{{[{', '.join(index)}]}}"

    def total(self, term: str, first: int, last: int) -> str:
        return rf"\sum_{{t={first}}}^{{{last}}} {term}"

    def applied(self, name: str, arguments: Sequence[str]) -> str:
        return rf"\operatorname{{{_latex_text(name)}}}({', '.join(arguments)})"


class MathML(Text):
    """Presentation MathML; `write` gives what goes inside ``<math>``."""

    braces = True

    def symbol(self, name: str) -> str:
        adjoint, scope, base, below, above = parse(name)
        text = f"<mi>{escape(f'{scope}/{base}' if scope else base)}</mi>"
        sub = f"<mi>{escape(below)}</mi>"
        sup = f"<mrow><mo>⟨</mo><mi>{escape(above)}</mi><mo>⟩</mo></mrow>"
        if below and above:
            text = f"<msubsup>{text}{sub}{sup}</msubsup>"
        elif below or above:
            text = f"<msub>{text}{sub}</msub>" if below else f"<msup>{text}{sup}</msup>"
        return f"<mrow><mi>δ</mi>{text}</mrow>" if adjoint else text

    def number(self, value: Any) -> str:
        text = plain(value)
        return f"<mrow><mo>−</mo><mn>{text[1:]}</mn></mrow>" if text[0] == "−" else f"<mn>{escape(text)}</mn>"

    def _number(self, expr: Number) -> Written:
        return Written(self.number(expr.value), SIGN if plain(expr.value)[0] == "−" else ATOM, "−")

    def word(self, text: str) -> str:
        return f"<mtext>{escape(text)}</mtext>"

    def sign(self, sign: str) -> str:
        return "<mn>1</mn><mo>/</mo>" if sign == "1 / " else f"<mo>{escape(sign.strip())}</mo>"

    def power(self, base: str, exponent: str) -> str:
        return f"<msup><mrow>{base}</mrow><mrow>{'<mn>2</mn>' if exponent == '2' else exponent}</mrow></msup>"

    def raised(self, name: str) -> bool:
        parts = parse(name)
        return bool(parts.above) or parts.adjoint

    def transposed(self, base: str) -> str:
        return f"<msup><mrow>{base}</mrow><mi>T</mi></msup>"

    def magnitude(self, inner: str) -> str:
        return f"<mrow><mo>|</mo>{inner}<mo>|</mo></mrow>"

    def element(self, base: str, index: Sequence[str]) -> str:
        return f"<msub><mrow>{base}</mrow><mrow><mo>[</mo>{'<mo>,</mo>'.join(index)}<mo>]</mo></mrow></msub>"

    def total(self, term: str, first: int, last: int) -> str:
        return (f"<munderover><mo>∑</mo><mrow><mi>t</mi><mo>=</mo><mn>{first}</mn></mrow><mn>{last}</mn></munderover>"
                + term)  # fmt: skip

    def applied(self, name: str, arguments: Sequence[str]) -> str:
        inner = "<mo>,</mo>".join(arguments)
        return f"<mrow><mi>{escape(name)}</mi><mo>&#x2061;</mo><mo>(</mo>{inner}<mo>)</mo></mrow>"

    def brackets(self, inner: str) -> str:
        return f"<mrow><mo>(</mo>{inner}<mo>)</mo></mrow>"


def told(op: Op, key: str, value: Any) -> bool:
    """Whether a parameter says something: it is not the default, no array's shape, and plain data."""
    parameter = op.signature.parameters.get(key)
    return key not in ("shape", "dtype") and isinstance(value, PLAIN) and (parameter is None or parameter.default is not value)


def _kind(sign: str) -> str:
    """Products that one writes side by side without brackets: those of one kind."""
    return sign if sign in (" @ ", " ⊗ ") else ""


def plain(value: Any) -> str:
    """A number, or metadata, as one writes it."""
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "−")
    return str(value).replace("-", "−") if isinstance(value, (int, np.integer)) else str(value)


def numbers(a: np.ndarray[Any, Any]) -> str:
    """Few numbers in full, many by their norm."""
    if a.size > FEW:
        return f"|·| {np.linalg.norm(a.astype(float)):.4g}"
    return np.array2string(a, precision=4, separator=", ").replace("\n", "").replace("-", "−")


_ESCAPES = {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\ensuremath{<}",
            ">": r"\ensuremath{>}", "−": "-", "…": r"\ldots{}", **{c: "\\" + c for c in "&%$#_{}"}}  # fmt: skip
_ACCENTS = {"\u0302": "hat", "\u0303": "tilde", "\u0304": "bar", "\u0307": "dot"}


def _latex_text(text: str) -> str:
    return "".join(_ESCAPES.get(c) or (c if c.isascii() else rf"\ensuremath{{{_latex_letter(c)}}}") for c in text)


def _latex_base(text: str) -> str:
    letters = normalize("NFD", text)
    if letters[1:] in _ACCENTS:
        return rf"\{_ACCENTS[letters[1:]]}{{{_latex_letter(letters[0])}}}"
    if len(text) == 1 or text.isdigit():
        return "".join(map(_latex_letter, text))
    return rf"\mathrm{{{_latex_text(text)}}}"


def _latex_letter(letter: str) -> str:
    letter = normalize("NFKC", letter)
    if letter.isascii():
        return _ESCAPES.get(letter, letter)
    alphabet, _, rest = unicode_name(letter, "").partition(" ")
    case, _, greek = rest.partition(" LETTER ")
    if alphabet == "GREEK" and greek:
        name = {"LAMDA": "lambda"}.get(greek, greek.lower())
        latin = {"ALPHA": "A", "BETA": "B", "EPSILON": "E", "ZETA": "Z", "ETA": "H", "IOTA": "I", "KAPPA": "K", "MU": "M",
                 "NU": "N", "OMICRON": "O", "RHO": "P", "TAU": "T", "CHI": "X"}  # fmt: skip
        if case == "CAPITAL":
            return rf"\mathrm{{{latin[greek]}}}" if greek in latin else rf"\{name.capitalize()}"
        return "o" if name == "omicron" else rf"\{name.replace('final sigma', 'varsigma')}"
    plain_letters = "".join(c for c in normalize("NFKD", letter) if c.isascii())
    return plain_letters or rf"\mathrm{{U{ord(letter):04X}}}"
