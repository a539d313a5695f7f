from .errors import BudgetExceeded as BudgetExceeded
from .errors import DatasetError as DatasetError
from .errors import DeclarationError as DeclarationError
from .errors import FingerprintError as FingerprintError
from .errors import InfrastructureError as InfrastructureError
from .errors import LocalModelMissing as LocalModelMissing
from .errors import MetricError as MetricError
from .errors import MiproError as MiproError
from .errors import ModelError as ModelError
from .errors import ReferenceFileError as ReferenceFileError
from .errors import StoreError as StoreError
from .models import LineAdapter as LineAdapter
from .optimize import MIPROv2 as MIPROv2
from .plugin.declaration import mipro_optimize as mipro_optimize
from .plugin.warnings import MiproWarning as MiproWarning
from .session import Outcome as Outcome
from .task import Budget as Budget
from .task import Dataset as Dataset

__version__: str
