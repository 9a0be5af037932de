"""What happened in a simulation, line by line, with virtual times: for people to read, and for comparing two runs."""

import hashlib


class Trace:
    """Lines in order. `now` returns the virtual time; `place` is a path that differs in each run."""

    def __init__(self, now, place):
        self._now = now
        self._place = str(place)
        self._start = now()
        self.lines = []

    def __call__(self, text):
        self.lines.append(f"{self._now() - self._start:9.4f}  {text.replace(self._place, '')}")

    def digest(self):
        """Return what two equal runs have in common."""
        return hashlib.sha256("\n".join(self.lines).encode("utf-8", "surrogateescape")).hexdigest()

    def event(self, event):
        """Take down what a server announced."""
        fields = " ".join(f"{key}={value}" for key, value in event.fields.items() if key not in ("ms", "sent"))
        path = "" if event.path is None else f" {event.path.decode('utf-8', 'backslashreplace')}"
        self(f"    {event.role}: {event.name}{path} {fields}")
