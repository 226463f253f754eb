"""Standing subscriptions to wake-up topics; a ticket would have to be taken again each time."""

from collections.abc import Callable
from functools import partial

from app.kernel.wakeups import Wakeups

Listener = Callable[[], None]


class Bus:
    """Calls listeners of this process when their topic is woken, in whatever process.

    A wake-up costs one look into a dictionary, however many listen; nothing runs in between.
    Like every wake-up, a call says "look again" and may be lost with a connection; when that is
    back, every listener is called once.
    """

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self._listeners: dict[str, dict[object, Listener]] = {}
        self._stops: tuple[Callable[[], None], ...] = ()

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` from now on until what is returned is called, once or more often.

        It is called in the event loop: it must be quick and must not raise.
        """
        if not self._stops:
            wakeups = self._wakeups
            self._stops = wakeups.observe(self._woken), wakeups.observe_gaps(self._missed)
        token = object()
        self._listeners.setdefault(topic, {})[token] = listener
        return partial(self._leave, topic, token)

    def _leave(self, topic: str, token: object) -> None:
        known = self._listeners.get(topic, {})
        known.pop(token, None)
        if not known:
            self._listeners.pop(topic, None)
        if not self._listeners:
            for stop in self._stops:
                stop()
            self._stops = ()

    def _woken(self, topic: str) -> None:
        for listener in tuple(self._listeners.get(topic, {}).values()):
            listener()

    def _missed(self) -> None:
        for topic in tuple(self._listeners):
            self._woken(topic)
