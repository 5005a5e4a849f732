"""What engines of the protocol raise: the engine's own LM errors, under the protocol's names.

An engine may raise either name; they are the same classes, so no translation loses anything.
"""

from ..errors import ContextWindowExceededError as ContextLengthError
from ..errors import LMAuthError as AuthError
from ..errors import LMBillingError as BillingError
from ..errors import LMCollectionLimitError as CollectionLimitError
from ..errors import LMConfigurationError as ConfigurationError
from ..errors import LMError as LM15Error
from ..errors import LMInvalidRequestError as InvalidRequestError
from ..errors import LMLockTimeoutError as LockTimeoutError
from ..errors import LMNotConfiguredError as NotConfiguredError
from ..errors import LMProviderError as ProviderError
from ..errors import LMRateLimitError as RateLimitError
from ..errors import LMServerError as ServerError
from ..errors import LMStreamAssemblyError as StreamAssemblyError
from ..errors import LMTimeoutError as TimeoutError
from ..errors import LMTransportError as TransportError
from ..errors import LMUnsupportedFeatureError as UnsupportedFeatureError
from ..errors import LMUnsupportedModelError as UnsupportedModelError

__all__ = [
    "AuthError",
    "BillingError",
    "CollectionLimitError",
    "ConfigurationError",
    "ContextLengthError",
    "InvalidRequestError",
    "LM15Error",
    "LockTimeoutError",
    "NotConfiguredError",
    "ProviderError",
    "RateLimitError",
    "ServerError",
    "StreamAssemblyError",
    "TimeoutError",
    "TransportError",
    "UnsupportedFeatureError",
    "UnsupportedModelError",
]
