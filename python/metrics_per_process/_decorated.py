"""Functions of which each call is measured."""

from __future__ import annotations

import functools
import inspect
from typing import Any, AsyncIterator, Callable, Generator, Optional, TypeVar, cast

from .measuring import Measured, Measurement

_Function = TypeVar("_Function", bound=Callable[..., object])


def decorated(
    function: _Function,
    tier: Optional[str],
    then: Optional[Callable[[Measured], object]],
) -> _Function:
    """The function, measured from its call to its end, whatever kind of function it is."""
    # Typed by what the caller gave us.
    anything: Any = function

    def note(measured: Measured) -> None:
        setattr(wrapper, "measured", measured)
        if then is not None:
            then(measured)

    def block() -> Measurement:
        return Measurement(tier, note)

    wrapper: Any
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **keywords: Any) -> Any:
            with block():
                return await anything(*args, **keywords)

    elif inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **keywords: Any) -> AsyncIterator[Any]:
            with block():
                async for item in anything(*args, **keywords):
                    yield item

    elif inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def wrapper(*args: Any, **keywords: Any) -> Generator[Any, Any, Any]:
            with block():
                return (yield from anything(*args, **keywords))

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **keywords: Any) -> Any:
            with block():
                return anything(*args, **keywords)

    return cast(_Function, wrapper)
