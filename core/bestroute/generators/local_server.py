"""Serve a small open model (a GGUF file) by an OpenAI-compatible server inside the process."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from bestroute._utils.extras import to_install
from bestroute.errors import ConfigError


class LocalServer:
    """Serves one GGUF file by llama.cpp's server (the ``xllamacpp`` wheel) for as long as it is open.

    Args:
        path: A GGUF file with a chat template.
        n_threads: Number of threads for the computation.
        n_parallel: Draws in parallel.
        n_context: Context length of each, tokens.

    Raises:
        ConfigError: If the file does not exist.

    Example:
        ``with LocalServer("smollm2-135m.gguf") as server: OpenAIGenerator("m", base_url=server.base_url)``
    """

    def __init__(self, path: str | Path, *, n_threads: int = 1, n_parallel: int = 4, n_context: int = 1024) -> None:
        """Store the settings; nothing is loaded before ``__enter__``."""
        self.path = Path(path)
        if not self.path.is_file():
            raise ConfigError(f"{self.path}: no such GGUF file")
        self.n_threads, self.n_parallel, self.n_context = n_threads, n_parallel, n_context
        self._server: Any = None

    @property
    def base_url(self) -> str:
        """The server's address, while it is open."""
        if self._server is None:
            raise ConfigError(f"LocalServer({self.path.name}): use it as a context manager, it is not open")
        return f"{self._server.listening_address}/v1"

    def __enter__(self) -> LocalServer:
        """Load the weights and listen on a free loopback port."""
        try:
            import xllamacpp
        except ImportError as error:
            raise ImportError(f"local models need xllamacpp: {to_install('local')}") from error
        params = xllamacpp.CommonParams()
        params.model.path = str(self.path)
        params.cpuparams.n_threads = self.n_threads
        params.cpuparams_batch.n_threads = self.n_threads
        params.n_parallel = self.n_parallel
        params.n_ctx = self.n_context * self.n_parallel
        params.hostnames, params.port = ["127.0.0.1"], 0
        params.verbosity = 0
        self._server = xllamacpp.Server(params)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening and free the weights."""
        self._server = None
