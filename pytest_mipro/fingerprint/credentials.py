"""Names of credentials, which say who asks and change no result.

They are fewer than the names of what is to be kept secret: a header may choose the model.
"""

from __future__ import annotations

import re

from pytest_mipro.redaction import snake_case

_CREDENTIAL = re.compile(
    r"(^|_)(authorization|passw(or)?d|secret|credentials?)(_|$)|(^|_)(cookie|signature|sig)$"
    r"|(^|_)(api_?|subscription_|access_|account_|secret_|private_|signing_)keys?(_id)?$"
    r"|(^|_)(access|ad|api|auth|bearer|id|refresh|security|session)_token(_(provider|file|path))?$"
    r"|^(x_)?(code|keys?|token)$"
)
"""Matches names, in snake case, of what says who asks, but not what for."""


def is_credential(name: object) -> bool:
    """Whether a parameter, a header or an attribute of this name says only who asks."""
    return bool(_CREDENTIAL.search(snake_case(name)))
