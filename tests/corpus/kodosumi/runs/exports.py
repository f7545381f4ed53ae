"""Every public name of `kodosumi.core`, and the modules that services import besides."""

from kodosumi import dtypes, error, response
from kodosumi.core import (
    InputsError,
    KodosumiError,
    Launch,
    ServeAPI,
    Templates,
    Tracer,
    TracerMock,
    forms,
)
from kodosumi.core import response as same
from kodosumi.service.inputs.errors import InputsError as SameError
from kodosumi.service.inputs.forms import Model


def run():
    names = [InputsError, KodosumiError, Launch, ServeAPI, Templates, Tracer, TracerMock, Model]
    is_same = same is response and SameError is InputsError and Model is forms.Model
    is_error = issubclass(error.KodosumiError, Exception) and KodosumiError is error.KodosumiError
    return [each.__name__ for each in names], is_same and is_error, dtypes.Text(body="x").body
