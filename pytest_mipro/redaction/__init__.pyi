from .names import is_secret as is_secret
from .names import snake_case as snake_case
from .secrets import SECRETS as SECRETS
from .texts import url_without_secrets as url_without_secrets
