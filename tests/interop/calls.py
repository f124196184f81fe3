"""The cases of gRPC's own interoperability tests, by their names and with their sizes, as far as a proxy is concerned: messages are
bytes here, for no proxy looks into them."""
import threading, time

import grpc

SIZES_UP = (27182, 8, 1828, 45904)
SIZES_DOWN = (31415, 9, 2653, 58979)
SPECIAL = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001f608\t\n"
INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"


class Calls(grpc.GenericRpcHandler):
    """The service."""

    def __init__(self):
        self.cancelled = threading.Semaphore(0)

    def service(self, details):
        return {
            "/s/Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "/s/Down": grpc.unary_stream_rpc_method_handler(self.down),
            "/s/Up": grpc.stream_unary_rpc_method_handler(lambda messages, _: b"%d" % sum(map(len, messages))),
            "/s/Both": grpc.stream_stream_rpc_method_handler(self.both),
        }.get(details.method)

    def echo_metadata(self, context):
        told = dict(context.invocation_metadata())
        if INITIAL in told:
            context.send_initial_metadata(((INITIAL, told[INITIAL]),))
            context.set_trailing_metadata(((TRAILING, told[TRAILING]),))

    def unary(self, message, context):
        """Answers with as many bytes as the message says, or fails as it says."""
        self.echo_metadata(context)
        what, _, rest = message.partition(b":")
        if what == b"fail":
            context.abort(grpc.StatusCode.UNKNOWN, rest.decode())
        return bytes(int(what or 0))

    def down(self, message, _):
        for size in SIZES_DOWN:
            yield bytes(size)

    def both(self, messages, context):
        self.echo_metadata(context)
        context.add_callback(self.cancelled.release)
        for message in messages:
            if message == b"sleep":
                time.sleep(2)
            yield bytes(int(message.partition(b":")[0]))


def asked(size, more=b""):
    return b"%d:" % size + more


def fails(call, code, text=None):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        assert text in (None, error.details()), error
    else:
        raise AssertionError("a call that fails did not")


def empty_unary(channel, _):
    assert channel.unary_unary("/s/Unary")(b"", timeout=20) == b""


def large_unary(channel, _):
    assert channel.unary_unary("/s/Unary")(asked(314159, bytes(271828)), timeout=20) == bytes(314159)


def client_streaming(channel, _):
    assert channel.stream_unary("/s/Up")((bytes(size) for size in SIZES_UP), timeout=20) == b"74922"


def server_streaming(channel, _):
    assert list(map(len, channel.unary_stream("/s/Down")(b"", timeout=20))) == list(SIZES_DOWN)


def ping_pong(channel, _):
    said = []

    def say():
        for at, (up, down) in enumerate(zip(SIZES_UP, SIZES_DOWN)):
            while len(said) < at:
                time.sleep(0.001)
            yield asked(down, bytes(up))

    for answer in channel.stream_stream("/s/Both")(say(), timeout=20):
        said.append(len(answer))
    assert said == list(SIZES_DOWN), said


def empty_stream(channel, _):
    assert list(channel.stream_stream("/s/Both")(iter(()), timeout=20)) == []


def timeout_on_sleeping_server(channel, _):
    began = time.monotonic()
    fails(lambda: list(channel.stream_stream("/s/Both")(iter([b"sleep"]), timeout=0.5)), grpc.StatusCode.DEADLINE_EXCEEDED)
    assert time.monotonic() - began < 5, "the deadline was kept late"


def cancel_after_begin(channel, _):
    until = threading.Event()
    call = channel.stream_unary("/s/Up").future(iter(until.wait, True), timeout=20)
    call.cancel()
    until.set()
    assert call.cancelled() and call.code() == grpc.StatusCode.CANCELLED, call


def cancel_after_first_response(channel, calls):
    while calls.cancelled.acquire(blocking=False):
        pass
    over = threading.Event()

    def say():
        yield asked(SIZES_DOWN[0], bytes(SIZES_UP[0]))
        over.wait(20)

    call = channel.stream_stream("/s/Both")(say(), timeout=20)
    assert len(next(call)) == SIZES_DOWN[0]
    call.cancel()
    fails(lambda: next(call), grpc.StatusCode.CANCELLED)
    assert calls.cancelled.acquire(timeout=20), "the stamp was not told"
    over.set()


def custom_metadata(channel, _):
    told = ((INITIAL, "test_initial_metadata_value"), (TRAILING, b"\xab\xab\xab"))
    _, unary = channel.unary_unary("/s/Unary").with_call(asked(1), metadata=told, timeout=20)
    both = channel.stream_stream("/s/Both")(iter([asked(1)]), metadata=told, timeout=20)
    assert list(both) == [bytes(1)]
    for call in (unary, both):
        assert told[0] in [tuple(pair) for pair in call.initial_metadata()], call.initial_metadata()
        assert told[1] in [tuple(pair) for pair in call.trailing_metadata()], call.trailing_metadata()


def status_code_and_message(channel, _):
    fails(lambda: channel.unary_unary("/s/Unary")(b"fail:test status message", timeout=20), grpc.StatusCode.UNKNOWN, "test status message")


def special_status_message(channel, _):
    fails(lambda: channel.unary_unary("/s/Unary")(b"fail:" + SPECIAL.encode(), timeout=20), grpc.StatusCode.UNKNOWN, SPECIAL)


def unimplemented_method(channel, _):
    fails(lambda: channel.unary_unary("/s/Nothing")(b"", timeout=20), grpc.StatusCode.UNIMPLEMENTED)


def unimplemented_service(channel, _):
    fails(lambda: channel.unary_unary("/nobody/Unary")(b"", timeout=20), grpc.StatusCode.UNIMPLEMENTED)


CASES = (
    empty_unary, large_unary, client_streaming, server_streaming, ping_pong, empty_stream, timeout_on_sleeping_server,
    cancel_after_begin, cancel_after_first_response, custom_metadata, status_code_and_message, special_status_message,
    unimplemented_method, unimplemented_service,
)
