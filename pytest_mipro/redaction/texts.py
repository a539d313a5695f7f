"""Find secrets in texts by what stands around them: in URLs, assignments and headers."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pytest_mipro.redaction.names import Strength, is_secret_value, strength

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

REPLACEMENT = "***"
_MOST = 1024
"""Characters of the longest password or value that a pattern matches."""
# A password may have an unescaped @; a colon with digits and a slash begins a port instead.
_USER_INFO = re.compile(
    rf"(?<=:)(/{{1,3}})([^\s/?#@:\"'<>]{{0,{_MOST}}})"
    rf"(?::(?!\d+[/?#])([^\s\"'<>]{{0,{_MOST}}}|\S{{0,{_MOST}}}?))?@"
)
_PARAMETER = re.compile(rf"([?&;])([\w.\-\[\]]{{1,64}})=([^\s&;#\"'<>]{{1,{_MOST}}})")
_ASSIGNMENT = re.compile(
    r"(?<![\w.\-])([A-Za-z_][\w\-]{0,63})(\s?=\s?|[\"']\s?:\s?)"
    rf"(\"[^\"\n]{{1,{_MOST}}}\"|'[^'\n]{{1,{_MOST}}}'|[^\s&;,#()\[\]{{}}\"'<>]{{1,{_MOST}}})"
)
_BEARER = re.compile(rf"(?i)\b((?:Bearer|Basic)\s+)(?=\S*[\d=])([\w.~+/=\-]{{6,{_MOST}}})")
_SIGNATURE = re.compile(r"(?i)(^|[_-])sig(nature)?$")
"""Matches parameters that let everybody use a URL for some time; code calls other things so."""
_SCHEME = re.compile(r"(?i)(sqlite|postgres(ql)?|https?)([+.]\w+)?|")
_FILE_SCHEME = re.compile(r"(?i)sqlite([+.]\w+)?")


def without_url_secrets(text: str, patterns: Collection[str] = ()) -> str:
    """Return ``text`` without the passwords, tokens and secret parameters of its URLs."""
    if "@" in text:
        text = _USER_INFO.sub(_user_info, text)
    return _PARAMETER.sub(partial(_parameter, patterns), text) if "=" in text else text


def without_credentials(text: str, patterns: Collection[str] = ()) -> str:
    """Return ``text`` without what it calls a password, a key or a token, as errors cite them."""
    text = _BEARER.sub(rf"\1{REPLACEMENT}", without_url_secrets(text, patterns))
    return _ASSIGNMENT.sub(partial(_assignment, patterns), text)


def secrets_in_urls(text: str) -> set[str]:
    """Return the passwords and the secret parameters of the URLs in ``text``."""
    secrets: set[str] = set()
    if "@" in text and "://" in text:
        for _, user, password in _USER_INFO.findall(text):
            secrets.update(_user_secrets(user, password))
    if "=" in text and "?" in text:
        for _, name, value in _PARAMETER.findall(text):
            if is_secret_value(value, strength(name)):
                secrets |= {value, unquote(value)}
    return secrets


def secrets_in_url(url: str) -> set[str]:
    """Return the secrets of one URL, which may be mistyped: then, all that may be one."""
    user_part, at_sign, _ = url.rpartition("@")
    if not at_sign or "://" in url:
        return secrets_in_urls(url)
    pieces = {piece for piece in re.split(r"[:/]+", user_part) if not _SCHEME.fullmatch(piece)}
    return {piece for piece in pieces if is_secret_value(piece, Strength.CERTAIN)}


def url_without_secrets(url: str) -> str:
    """Return a URL for people: without user, password and secret parameters.

    Of a text that is no URL and may have a password, only the scheme is shown.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        word = url.partition(":")[0]
        hidden = f"{word}:…" if _SCHEME.fullmatch(word) else "…"
        return hidden if "@" in url or "=" in url else url
    if not _FILE_SCHEME.fullmatch(scheme):
        rest = rest.rpartition("@")[2]
    address, mark, options = rest.partition("?")
    shown = "&".join(
        _PARAMETER.sub(partial(_parameter, ()), f"&{option}")[1:] for option in options.split("&")
    )
    return f"{scheme}://{address}{mark}{shown}"


def _user_secrets(user: str, password: str) -> Iterator[str]:
    """Yield what is secret of the user and the password in a URL; a token may be the user."""
    yield from filter(partial(_is_secret_part, Strength.POSSIBLE), {user, unquote(user)})
    if not password:
        return
    plain = f"{unquote(user)}:{unquote(password)}"
    yield b64encode(plain.encode()).decode("ascii").rstrip("=")
    parts = {password, unquote(password)}
    yield from filter(partial(_is_secret_part, Strength.CERTAIN), parts)


def _is_secret_part(name_strength: Strength, part: str) -> bool:
    return is_secret_value(part, name_strength)


def _user_info(match: re.Match[str]) -> str:
    slashes, user, password = match.groups()
    # A token may be the user, as in https://TOKEN:x-oauth-basic@host.
    shown_user = REPLACEMENT if is_secret_value(user, Strength.POSSIBLE) else user
    shown = shown_user if password is None else f"{shown_user}:{REPLACEMENT}"
    return f"{slashes}{shown}@"


def _parameter(patterns: Collection[str], match: re.Match[str]) -> str:
    lead, name, _ = match.groups()
    is_secret = strength(name, patterns) > Strength.PUBLIC or _SIGNATURE.search(name)
    return f"{lead}{name}={REPLACEMENT}" if is_secret else match[0]


def _assignment(patterns: Collection[str], match: re.Match[str]) -> str:
    name, separator, value = match.groups()
    quote = value[0] if value[0] in "\"'" else ""
    if not is_secret_value(value.strip("\"'"), strength(name, patterns)):
        return match[0]
    return f"{name}{separator}{quote}{REPLACEMENT}{quote}"
