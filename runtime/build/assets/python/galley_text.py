"""`Series.str`: what pandas does with columns of text."""

import re

from galley_frame import NAN, OBJECT, Series, is_null, unsupported


class Text:
    """`Series.str`: methods over text; what is no text is missing."""

    def __init__(self, series):
        if series._kind != OBJECT:
            raise AttributeError("Can only use .str accessor with string values!")
        self._values = series._values

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        unsupported(f"Series.str.{name}")

    def _each(self, operation, kinds=str):
        return Series._of(
            [operation(value) if isinstance(value, kinds) else missing(value) for value in self._values],
        )

    def _test(self, operation, na=None):
        values = [
            operation(value) if isinstance(value, str) else (missing(value) if na is None else na)
            for value in self._values
        ]
        return Series._of(values)

    def lower(self):
        return self._each(str.lower)

    def upper(self):
        return self._each(str.upper)

    def title(self):
        return self._each(str.title)

    def capitalize(self):
        return self._each(str.capitalize)

    def strip(self, to_strip=None):
        return self._each(lambda value: value.strip(to_strip))

    def lstrip(self, to_strip=None):
        return self._each(lambda value: value.lstrip(to_strip))

    def rstrip(self, to_strip=None):
        return self._each(lambda value: value.rstrip(to_strip))

    def len(self):
        return self._each(len, (str, list))

    def count(self, pat, flags=0):
        return self._each(lambda value: len(re.findall(pat, value, flags)))

    def match(self, pat, case=True, flags=0, na=None):
        pattern = re.compile(pat, flags | (0 if case else re.IGNORECASE))
        return self._test(lambda value: pattern.match(value) is not None, na)

    def fullmatch(self, pat, case=True, flags=0, na=None):
        pattern = re.compile(pat, flags | (0 if case else re.IGNORECASE))
        return self._test(lambda value: pattern.fullmatch(value) is not None, na)

    def pad(self, width, side="left", fillchar=" "):
        way = {"left": str.rjust, "right": str.ljust, "both": str.center}[side]
        return self._each(lambda value: way(value, width, fillchar))

    def split(self, pat=None, n=-1, expand=False, regex=None):
        if expand:
            unsupported("Series.str.split(expand=True)")
        # As pandas: one character is meant as it stands, more are an expression.
        if pat is None or isinstance(pat, str) and (regex is False or regex is None and len(pat) == 1):
            return self._each(lambda value: value.split(pat, n if n > 0 else -1))
        return self._each(lambda value: re.split(pat, value, maxsplit=max(n, 0)))

    def rsplit(self, pat=None, n=-1, expand=False):
        if expand:
            unsupported("Series.str.rsplit(expand=True)")
        return self._each(lambda value: value.rsplit(pat, n if n > 0 else -1))

    def cat(self, others=None, sep="", na_rep=None):
        if not isinstance(others, Series):
            unsupported("Series.str.cat with anything but one column")
        answer = []
        for pair in zip(self._values, others._values):
            texts = [na_rep if is_null(each) else each for each in pair]
            answer.append(NAN if None in texts else (sep or "").join(texts))
        return Series._of(answer)

    def get(self, i):
        return self[i]

    def contains(self, pat, case=True, flags=0, na=None, regex=True):
        pattern = re.compile(pat if regex else re.escape(pat), flags | (0 if case else re.IGNORECASE))
        return self._test(lambda value: pattern.search(value) is not None, na)

    def startswith(self, pat, na=None):
        return self._test(lambda value: value.startswith(pat), na)

    def endswith(self, pat, na=None):
        return self._test(lambda value: value.endswith(pat), na)

    def replace(self, pat, repl, n=-1, case=None, flags=0, regex=False):
        if case is not None:
            unsupported("Series.str.replace(case=..)")
        if not regex:
            return self._each(lambda value: value.replace(pat, repl, n))
        return self._each(lambda value: re.sub(pat, repl, value, count=max(n, 0), flags=flags))

    def slice(self, start=None, stop=None, step=None):
        return self._each(lambda value: value[start:stop:step])

    def zfill(self, width):
        return self._each(lambda value: value.zfill(width))

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self._each(lambda value: value[index], (str, list))

        def pick(value):
            return value[index] if -len(value) <= index < len(value) else NAN

        return self._each(pick, (str, list))


def _plain_text(name):
    """The method that calls the one of that name of each text."""
    method = getattr(str, name)

    def over(self, *args):
        return self._each(lambda value: method(value, *args))

    return over


for _name in (
    "swapcase", "casefold", "find", "rfind", "ljust", "rjust", "center", "removeprefix",
    "removesuffix", "isalnum", "isalpha", "isdecimal", "isdigit", "isnumeric", "islower", "isupper",
    "isspace", "istitle",
):
    setattr(Text, _name, _plain_text(_name))


def missing(value):
    return None if value is None else NAN
