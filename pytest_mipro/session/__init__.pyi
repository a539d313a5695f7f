from .callbacks import Callbacks as Callbacks
from .outcome import Outcome as Outcome
from .policy import Policy as Policy
from .program_state import dump_state as dump_state
from .program_state import restore_state as restore_state
from .session import Session as Session
from .storage import Storage as Storage
