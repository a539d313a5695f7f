from .mipro.estimate import Bound as Bound
from .mipro.estimate import CallProfile as CallProfile
from .mipro.estimate import Estimate as Estimate
from .mipro.estimate import bounds_of_compile as bounds_of_compile
from .mipro.estimate import may_loop as may_loop
from .mipro.estimate import tokens_per_call as tokens_per_call
from .mipro.optimizer import MIPROv2 as MIPROv2
