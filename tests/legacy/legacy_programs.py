"""Programs that the test's workers import. Runs in worker processes; the tests themselves never import it."""

import ctypes
import datetime
import os
import random
import subprocess
import sys
import time
from typing import Any

import dspy
import pydantic


class Place(pydantic.BaseModel):
    city: str
    when: datetime.date
    tags: list[str]


class Typed(dspy.Signature):
    """Say where, when and by which names."""

    question: str = dspy.InputField()
    names: dict[int, str] = dspy.OutputField()
    place: Place = dspy.OutputField()


class Asking(dspy.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = dspy.ChainOfThought(Typed)

    def forward(self, question: str) -> dspy.Prediction:
        return self.inner(question=question)


class Echo(dspy.Module):
    def forward(self, **inputs: Any) -> dspy.Prediction:
        return dspy.Prediction(**inputs)


echo = Echo()


class OnlyAsync(dspy.Module):
    async def aforward(self, **inputs: Any) -> dspy.Prediction:
        return dspy.Prediction(**inputs)


class Does(dspy.Module):
    """Does what it is asked to, for better or worse."""

    def forward(self, what: str, **details: Any) -> Any:
        return getattr(self, what)(**details)

    def describe(self) -> dspy.Prediction:
        return dspy.Prediction(
            pid=os.getpid(),
            argv=sys.orig_argv,
            environment=dict(os.environ),
            utf8=sys.flags.utf8_mode,
            litellm="litellm" in sys.modules and "completion" in vars(sys.modules["litellm"]),
            descriptors=sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in _own_descriptors()),
            inheritable=[fd for fd in _own_descriptors() if fd > 2 and os.get_inheritable(fd)],
            session_leader=os.getsid(0) == os.getpid(),
            parent=os.getppid(),
        )

    def roll(self) -> dspy.Prediction:
        return dspy.Prediction(numbers=[random.random() for _ in range(3)])

    def scatter(self, marker: str) -> None:
        """Starts a child, one with a session of its own, and one with a session of its own whose parent ends."""
        sleep = "import time; time.sleep(600)"
        plain = subprocess.Popen([sys.executable, "-c", sleep])
        own = subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True)
        daemonise = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {sleep!r}], "
        daemonise += "start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).pid)"
        orphan = subprocess.run([sys.executable, "-c", daemonise], capture_output=True, text=True, check=True)
        _say_hello(marker, plain.pid, own.pid, int(orphan.stdout))
        time.sleep(600)

    def wait_for(self, marker: str) -> dspy.Prediction:
        _say_hello(marker)
        with open(marker) as pipe:
            return dspy.Prediction(waited=pipe.read() == "go on")

    def fail(self, text: str) -> None:
        raise LookupError(text)

    def leave(self) -> None:
        sys.exit("that was all")

    def die(self, status: int) -> None:
        print("last words", flush=True)
        os._exit(status)

    def holdings(self) -> dspy.Prediction:
        """What this worker remembers of sessions and language models, and the bound of its cache on disk."""
        import gc

        owners = {type(one).__name__: one for one in gc.get_objects() if type(one).__module__.startswith("_dspex_worker")}
        cache = dspy.cache.disk_cache
        return dspy.Prediction(
            scopes=len(owners["Programs"]._scopes),
            models=len(owners["Models"]._models),
            cache_bytes=sum(shard.size_limit for shard in getattr(cache, "_shards", ())),
        )

    def abort(self) -> None:
        os.abort()

    def sleep(self, marker: str) -> None:
        _say_hello(marker)
        time.sleep(600)

    def hold_the_gil(self, marker: str) -> None:
        told = False
        while True:
            try:  # as in `defy`: it may be interrupted before it holds it
                if not told:
                    told = True
                    _say_hello(marker)
                ctypes.PyDLL(None).sleep(600)
            except BaseException as error:
                print("not yet:", type(error).__name__)

    def defy(self, marker: str) -> None:
        told = False
        while True:
            try:  # around the hello too: who has heard it may interrupt at once
                if not told:
                    told = True
                    _say_hello(marker)
                time.sleep(600)
            except BaseException as error:
                print("not me:", type(error).__name__)

    def hog(self, limit: int) -> None:
        import resource

        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
        try:
            [bytearray(2**26) for _ in range(1000)]
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    def swallow(self, marker: str, size: int) -> dspy.Prediction:
        """Waits for the word and then fills `size` bytes."""
        _say_hello(marker)
        with open(marker) as pipe:
            pipe.read()
        return dspy.Prediction(size=len([bytearray(b"x" * 2**20) for _ in range(size // 2**20)]))

    def bear(self, limit: str, value: int) -> dspy.Prediction:
        """From now on this worker has such a limit; of descriptors, `value` beyond those it has."""
        import resource

        which = getattr(resource, limit)
        if limit == "RLIMIT_NOFILE":
            value += max(_own_descriptors()) + 1
        resource.setrlimit(which, (value, resource.getrlimit(which)[1]))
        return dspy.Prediction()

    def breed(self, marker: str) -> None:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        _say_hello(marker, child.pid)
        time.sleep(600)

    def talk(self, text: str, lines: int) -> dspy.Prediction:
        for _ in range(lines):
            print(text)
        os.write(1, b"raw bytes on fd 1: \xff\n")
        os.write(2, b"raw bytes on fd 2\n")
        sys.stderr.write("\ud800 a lone surrogate\n")
        return dspy.Prediction(said=lines)

    def swell(self, size: int) -> dspy.Prediction:
        return dspy.Prediction(text="x" * size)

    def give(self, kind: str) -> Any:
        return {
            "lambda": lambda: dspy.Prediction(f=lambda: 1),
            "string": lambda: "no prediction",
            "decimal": lambda: {"date": datetime.date(2026, 11, 22)},
        }[kind]()


does = Does()


class Counting(dspy.Module):
    """Yields numbers, and gives their count. Its forward is a generator."""

    def forward(self, upto: int, marker: str = "") -> Any:
        for number in range(upto):
            if marker:
                with open(marker, "a") as file:
                    file.write(f"{number}\n")
            yield {"number": number}
        yield dspy.Prediction(count=upto)


class Marking(dspy.Module):
    """Leaves a line when it begins."""

    def forward(self, mark: str, log: str, seconds: float = 0) -> dspy.Prediction:
        with open(log, "a") as file:
            file.write(f"{mark}\n")
        time.sleep(seconds)
        return dspy.Prediction(mark=mark)


class Remembering(dspy.Module):
    """Counts its calls, which only this process knows of."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, **_: Any) -> dspy.Prediction:
        self.calls += 1
        return dspy.Prediction(calls=self.calls, pid=os.getpid())


class Calling(dspy.Module):
    """Calls back into the process that asked."""

    def forward(self, tool: str, **arguments: Any) -> dspy.Prediction:
        import dspex_host

        return dspy.Prediction(got=dspex_host.call(tool, **arguments))


class Weather(pydantic.BaseModel):
    city: str
    degrees: float = 0.0


class AskWeather(dspy.Signature):
    """How is it there?"""

    place: Weather = dspy.InputField()
    answer: str = dspy.OutputField()


class Typing(dspy.Module):
    """Says what classes its inputs have, and gives them back."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = dspy.Predict(AskWeather)

    def forward(self, **inputs: Any) -> dspy.Prediction:
        kinds = {name: type(value).__name__ for name, value in inputs.items()}
        return dspy.Prediction(kinds=kinds, **inputs)


class Gives(dspy.Module):
    def forward(self) -> dspy.Prediction:
        calls = dspy.ToolCalls.from_dict_list([{"name": "search", "args": {"query": "x"}}])
        return dspy.Prediction(
            image=dspy.Image(url="https://example.org/a.png"),
            history=dspy.History(messages=[{"question": "a", "answer": "b"}]),
            calls=calls,
            example=dspy.Example(a=1, b=[2]),
            weather=Weather(city="Paris", degrees=21.5),
        )

not_a_module = "just text"


def _own_descriptors() -> list[int]:
    return [fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{fd}")]


def _say_hello(marker: str, *pids: int) -> None:
    """Tells the test that this is running now: `marker` is a named pipe."""
    with open(marker, "w") as pipe:
        pipe.write(" ".join(map(str, (os.getpid(), *pids))))


class SaysItsTrace(dspy.Module):
    """The trace header that the host gave the request."""

    def forward(self):
        import dspex_host

        return dspy.Prediction(trace=str(dspex_host.traceparent()))


class ManyCalls(dspy.Module):
    """Two calls of modules, so many times."""

    def __init__(self):
        super().__init__()
        self.inner = _Outer()

    def forward(self, count):
        for _ in range(count):
            self.inner()
        return dspy.Prediction(done=True)


class _Inner(dspy.Module):
    def forward(self):
        return dspy.Prediction(done=True)


class _Outer(dspy.Module):
    def __init__(self):
        super().__init__()
        self.inner = _Inner()

    def forward(self):
        return self.inner()
