"""A line with a delay: a TCP proxy that hands on every byte later, and opens connections as late as a far host would.

``python -m bench.delay --to 8081 --round-trip-ms 50`` says its port and runs until it is stopped. The bandwidth is not bounded,
and the window never limits: what a line does to TCP besides (slow start, losses) is not there.
"""

from __future__ import annotations

import argparse
import asyncio
import socket

_READ_BYTES = 1 << 18
_MOST_WAITING = 4096  # pieces on their way in one direction


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float, start_s: float) -> None:
    """Hand on what `reader` gives `delay_s` seconds after it came, nothing of it before `start_s` (the loop's clock)."""
    clock = asyncio.get_running_loop().time
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MOST_WAITING)

    async def take() -> None:
        while True:
            piece = await reader.read(_READ_BYTES)
            await waiting.put((max(clock(), start_s) + delay_s, piece))
            if not piece:
                return

    taking = asyncio.create_task(take())
    try:
        while True:
            due_s, piece = await waiting.get()
            await asyncio.sleep(max(0.0, due_s - clock()))
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()
    except OSError:  # either side has gone: so does the other
        writer.close()
    finally:
        taking.cancel()


async def _serve(to_port: int, round_trip_s: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        start_s = asyncio.get_running_loop().time() + round_trip_s  # SYN and its answer
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", to_port)
        for one in (writer, far_writer):
            one.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        half_s = round_trip_s / 2
        await asyncio.gather(_carry(reader, far_writer, half_s, start_s), _carry(far_reader, writer, half_s, start_s))
        writer.close()
        far_writer.close()

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Run the proxy."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--to", type=int, required=True, help="port on this machine that connections go on to")
    parser.add_argument("--round-trip-ms", type=float, default=50.0)
    options = parser.parse_args()
    asyncio.run(_serve(options.to, options.round_trip_ms / 1000))


if __name__ == "__main__":
    main()
