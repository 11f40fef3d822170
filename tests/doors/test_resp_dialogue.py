"""What commands mean: Redis's texts, transactions, watches, groups for the gateway."""

from __future__ import annotations

import json

import hiredis
import pytest

from paxos.core.effects import ClientGone, ClientReads, ClientStaleReads, ClientWrites
from paxos.core.settings import Limits
from paxos.doors.resp_commands import ALL_COMMANDS
from paxos.doors.resp_transaction import WATCHED_KEYS_MAX


def parsed(data: bytes) -> list:
    reader = hiredis.Reader(replyError=lambda text: "-" + text)
    reader.feed(data)
    replies = []
    while (reply := reader.gets()) is not False:
        replies.append(reply)
    return replies


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"PING", b"+PONG"),
        (b"ping hello", b"$5\r\nhello"),
        (b"ECHO 'a b'", b"$3\r\na b"),
        (b"SELECT 0", b"+OK"),
        (b"SELECT 1", b"-ERR DB index is out of range"),
        (b"SELECT x", b"-ERR value is not an integer or out of range"),
        (b"SET a 1", b"+OK"),
        (b"sEt a 1", b"+OK"),
        (b"GET nothing", b"$-1"),
        (b"INCR n", b":1"),
        (b"WRITE 'novo valor'", b":1"),
        (b"foo a b", b"-ERR unknown command 'foo', with args beginning with: 'a' 'b' "),
        (b"REVISION a", b"-ERR unknown command 'REVISION', with args beginning with: 'a' "),
        (b"GET", b"-ERR wrong number of arguments for 'get' command"),
        (b"GET a b", b"-ERR wrong number of arguments for 'get' command"),
        (b"PING a b", b"-ERR wrong number of arguments for 'ping' command"),
        (b"EXEC", b"-ERR EXEC without MULTI"),
        (b"DISCARD", b"-ERR DISCARD without MULTI"),
        (b"UNWATCH", b"+OK"),
        (b"HELLO 4", b"-NOPROTO unsupported protocol version"),
        (b"HELLO x", b"-ERR Protocol version is not an integer or out of range"),
        (
            b"AUTH x",
            b"-ERR AUTH <password> called without any password configured for the default "
            b"user. Are you sure your configuration is correct?",
        ),
        (b"AUTH default x", b"+OK"),
        (b"AUTH other x", b"-WRONGPASS invalid username-password pair or user is disabled."),
        (b"CLIENT ID", b":1"),
        (b"CLIENT GETNAME", b"$-1"),
        (
            b"CLIENT SETNAME 'a b'",
            b"-ERR Client names cannot contain spaces, newlines or special characters.",
        ),
        (b"CLIENT SETINFO LIB-NAME redis-py", b"+OK"),
        (b"CLIENT SETINFO LIB-X redis-py", b"-ERR Unrecognized option 'LIB-X'"),
        (b"CLIENT NO-EVICT on", b"+OK"),
        (b"CLIENT KILL x", b"-ERR unknown subcommand 'KILL'. Try CLIENT HELP."),
        (b"CLIENT REPLY OFF", b"-ERR unknown subcommand 'REPLY'. Try CLIENT HELP."),
        (b"CLIENT SETNAME", b"-ERR wrong number of arguments for 'client|setname' command"),
        (b"COMMAND COUNT", b":%d" % len(ALL_COMMANDS)),
        (b"COMMAND X", b"-ERR unknown subcommand 'X'. Try COMMAND HELP."),
        (b"READONLY", b"+OK"),
        (b"RESET", b"+RESET"),
        (b"RESPONSES x", b"-ERR value is not an integer or out of range"),
    ],
)
def test_a_command_has_its_answer(talk, said, heard):
    assert talk.say(said + b"\r\n") == heard + b"\r\n"


def test_quit_answers_and_closes_and_ignores_what_follows(talk):
    assert talk.say(b"SET a 1\r\nQUIT\r\nSET b 1\r\n") == b"+OK\r\n+OK\r\n"
    assert talk.transport.closing


def test_a_line_of_http_closes_without_an_answer(house):
    home = house()
    talk = home.talk()
    assert talk.say(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert talk.transport.closing
    assert [trace.what for trace in home.traces] == ["client_failed"]


def test_hello_greets_with_a_flat_map(talk):
    (reply,) = parsed(talk.say(b"HELLO 2 SETNAME me\r\n"))
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    assert fields[b"server"] == b"redis"
    assert fields[b"proto"] == 2
    assert talk.say(b"CLIENT GETNAME\r\n") == b"$2\r\nme\r\n"
    assert parsed(talk.say(b"CLIENT HELP\r\n"))[0][0].startswith(b"CLIENT <subcommand>")
    assert b" name=me " in talk.say(b"CLIENT LIST\r\n")


def test_version_3_says_nothing_and_maps_in_its_own_way(house):
    home = house(at_once=False)
    talk, other = home.talk(), home.talk()
    talk.say(b"GET a\r\nHELLO 3\r\nGET a\r\nRESET\r\nGET a\r\n")
    home.gateway.pump()
    heard = talk.heard()
    assert heard.startswith(b"$-1\r\n%7\r\n$6\r\nserver\r\n")
    assert b"$5\r\nproto\r\n:3\r\n" in heard
    assert heard.endswith(b"_\r\n+RESET\r\n$-1\r\n")
    talk.say(b"HELLO 3\r\nWATCH a\r\n")
    home.gateway.pump()
    other.say(b"SET a 1\r\n")
    talk.say(b"MULTI\r\nGET a\r\nEXEC\r\nCOMMAND DOCS get\r\n")
    home.gateway.pump()
    assert b"_\r\n%1\r\n$3\r\nget\r\n%2\r\n$7\r\nsummary\r\n" in talk.heard()


def test_command_tells_of_every_command(talk):
    everything = {entry[0]: entry for entry in parsed(talk.say(b"COMMAND\r\n"))[0]}
    assert everything[b"get"][1] == 2
    assert everything[b"mset"][3:6] == [1, -1, 2]
    assert b"revision" not in everything
    assert parsed(talk.say(b"COMMAND INFO get nosuch\r\n"))[0] == [everything[b"get"], None]
    (documents,) = parsed(talk.say(b"COMMAND DOCS\r\n"))
    assert documents[::2] == parsed(talk.say(b"COMMAND LIST\r\n"))[0]
    assert all(document[1] for document in documents[1::2])


def test_status_is_json_and_info_has_its_lines(talk):
    assert json.loads(parsed(talk.say(b"STATUS\r\n"))[0])["leader"] == "proposer-1"
    lines = parsed(talk.say(b"INFO\r\n"))[0].decode().splitlines()
    assert {"role:master", "paxos_ready:1", "paxos_quorum_needed:2", "connected_clients:1"} <= set(
        lines
    )
    assert not [line for line in lines if line.endswith((":True", ":False"))]
    assert not [line for line in lines if "put_bytes" in line]
    assert b"# Clients" not in talk.say(b"INFO paxos\r\n")


def test_responses_sees_the_write_before_it(house):
    home = house(at_once=False)
    talk = home.talk()
    assert talk.say(b"WRITE a\r\nRESPONSES\r\nWRITE b\r\nRESPONSES 1\r\n") == b""
    home.gateway.confirmed = []
    home.gateway.pump(1)
    home.gateway.confirmed = [(1, 1, 1, 1, 0.25)]
    assert parsed(talk.heard()) == [1, []]
    home.gateway.confirmed = [(1, 1, 1, 1, 0.25), (2, 2, 2, 1, 0.125)]
    home.gateway.pump()
    assert parsed(talk.heard()) == [2, [[2, 2, 2, 1, 125]]]


def test_neighbours_of_one_kind_go_to_the_gateway_together(house):
    home = house()
    talk = home.talk()
    talk.say(b"SET a 1\r\nPING\r\nSET b 2\r\nGET a\r\nMGET a b\r\nREADONLY\r\nGET b\r\nSET c 3\r\n")
    assert home.gateway.events == [
        ClientWrites(connection=1, commands=[[b"SET", b"a", b"1"], [b"SET", b"b", b"2"]]),
        ClientReads(connection=1, commands=[[b"GET", b"a"], [b"MGET", b"a", b"b"]]),
        ClientStaleReads(connection=1, commands=[[b"GET", b"b"]]),
        ClientWrites(connection=1, commands=[[b"SET", b"c", b"3"]]),
    ]


def test_the_gateway_hears_that_a_client_has_gone(house):
    home = house()
    talk, silent = home.talk(), home.talk()
    talk.say(b"GET a\r\n")
    talk.hang_up()
    silent.hang_up()
    assert home.gateway.events[1:] == [ClientGone(connection=1)]
    assert home.door.connections == 0
    home.door.deliver(1, [None])


def test_an_error_from_the_gateway_passes_through(house):
    home = house()
    talk = home.talk()
    home.gateway.failure = "UNAVAILABLE no quorum: 1 of 3 acceptors answers"
    assert talk.say(b"SET a 1\r\n") == b"-UNAVAILABLE no quorum: 1 of 3 acceptors answers\r\n"


# ---------------------------------------------------------------- transactions


def test_a_transaction_is_one_command_of_the_log(house):
    home = house()
    talk = home.talk()
    said = (
        b"MULTI",
        b"set a 1",
        b"PING",
        b"INCR a",
        b"ECHO x",
        b"SELECT 0",
        b"UNWATCH",
        b"GET a",
        b"EXEC",
        b"",
    )
    assert parsed(talk.say(b"\r\n".join(said))) == [
        b"OK",
        *[b"QUEUED"] * 7,
        [b"OK", b"PONG", 2, b"x", b"OK", b"OK", b"2"],
    ]
    commands = [[b"SET", b"a", b"1"], [b"INCR", b"a"], [b"GET", b"a"]]
    assert home.gateway.events == [
        ClientWrites(connection=1, commands=[[b"EXEC", [], commands]]),
    ]


def test_an_empty_transaction_needs_nobody(house):
    home = house()
    assert (
        home.talk().say(b"MULTI\r\nPING\r\nEXEC\r\nMULTI\r\nEXEC\r\n")
        == b"+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n+OK\r\n*0\r\n"
    )
    assert home.gateway.events == []


@pytest.mark.parametrize(
    "wrong", [b"nosuch", b"SET a", b"DISCARD x", b"HELLO 2", b"AUTH default x", b"READONLY"]
)
def test_a_refused_command_spoils_the_transaction(talk, wrong):
    replies = parsed(talk.say(b"MULTI\r\nSET a 1\r\n" + wrong + b"\r\nEXEC\r\nEXEC\r\n"))
    assert replies[2].startswith("-ERR ")
    assert replies[3:] == [
        "-EXECABORT Transaction discarded because of previous errors.",
        "-ERR EXEC without MULTI",
    ]


def test_multi_in_multi_and_watch_in_multi_are_refused(talk):
    replies = parsed(talk.say(b"MULTI\r\nMULTI\r\nWATCH a\r\nSET a 1\r\nEXEC\r\n"))
    assert replies == [
        b"OK",
        "-ERR MULTI calls can not be nested",
        "-ERR WATCH inside MULTI is not allowed",
        b"QUEUED",
        [b"OK"],
    ]


def test_discard_and_reset_forget_the_transaction(house):
    home = house()
    talk = home.talk()
    assert parsed(talk.say(b"MULTI\r\nSET a 1\r\nDISCARD\r\nEXEC\r\n"))[2:] == [
        b"OK",
        "-ERR EXEC without MULTI",
    ]
    assert parsed(talk.say(b"MULTI\r\nSET a 1\r\nRESET\r\nEXEC\r\n"))[2:] == [
        b"RESET",
        "-ERR EXEC without MULTI",
    ]
    assert home.gateway.events == []


def test_an_error_instead_of_an_exec_passes_through(house):
    home = house()
    home.gateway.failure = "UNAVAILABLE"
    assert home.talk().say(b"MULTI\r\nSET a 1\r\nPING\r\nEXEC\r\n").endswith(b"-UNAVAILABLE\r\n")


def test_a_transaction_over_the_limit_is_spoilt(house):
    talk = house(limits=Limits(value_bytes_max=100)).talk()
    replies = parsed(talk.say(b"MULTI\r\n" + b"SET a %b\r\n" % (b"x" * 40) * 3 + b"EXEC\r\n"))
    assert replies[3] == "-ERR the transaction is larger than limits.value_bytes_max (100 bytes)"
    assert replies[4].startswith("-EXECABORT")


# ---------------------------------------------------------------- watches


def test_an_undisturbed_watch_lets_the_transaction_through(house):
    home = house()
    talk = home.talk()
    talk.say(b"SET a 1\r\n")
    assert (
        talk.say(b"WATCH a b a\r\nWATCH a\r\nMULTI\r\nSET a 2\r\nEXEC\r\n")
        == b"+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n"
    )
    assert home.gateway.events[1:] == [
        ClientReads(connection=1, commands=[[b"REVISION", b"a"], [b"REVISION", b"b"]]),
        ClientWrites(
            connection=1,
            commands=[
                [b"EXEC", [[b"a", 1], [b"b", 0]], [[b"SET", b"a", b"2"]]],
            ],
        ),
    ]


@pytest.mark.parametrize(
    "forget", [b"", b"UNWATCH", b"MULTI\r\nDISCARD", b"MULTI\r\nEXEC", b"RESET"]
)
def test_a_changed_key_stops_the_transaction_unless_its_watch_is_forgotten(house, forget):
    home = house()
    talk, other = home.talk(), home.talk()
    talk.say(b"WATCH a\r\n")
    if forget:
        talk.say(forget + b"\r\n")
    other.say(b"SET a theirs\r\n")
    heard = talk.say(b"MULTI\r\nSET a mine\r\nEXEC\r\n")
    assert heard == b"+OK\r\n+QUEUED\r\n" + (b"*1\r\n+OK\r\n" if forget else b"*-1\r\n")
    assert home.gateway.data[b"a"] == (b"mine" if forget else b"theirs")


def test_a_transaction_without_machine_commands_still_checks_its_watch(house):
    home = house()
    talk, other = home.talk(), home.talk()
    talk.say(b"WATCH a\r\n")
    other.say(b"SET a theirs\r\n")
    assert talk.say(b"MULTI\r\nPING\r\nEXEC\r\n").endswith(b"*-1\r\n")


def test_an_exec_waits_for_the_revisions_of_its_watch(house):
    home = house(at_once=False)
    talk = home.talk()
    said = b"WATCH a b\r\nGET a\r\nMULTI\r\nSET a 1\r\nEXEC\r\nGET a\r\nPING\r\n"
    assert talk.say(said) == b""
    assert not talk.transport.reading
    home.gateway.pump(1)
    assert talk.heard() == b""
    assert len(home.gateway.events) == 1
    home.gateway.pump(1)
    assert talk.heard() == b"+OK\r\n"
    assert talk.transport.reading
    assert home.gateway.events[1:] == [
        ClientWrites(
            connection=1,
            commands=[
                [b"EXEC", [[b"a", 0], [b"b", 0]], [[b"SET", b"a", b"1"]]],
            ],
        ),
        ClientReads(connection=1, commands=[[b"GET", b"a"]]),
    ]
    home.gateway.pump()
    assert parsed(talk.heard()) == [None, b"OK", b"QUEUED", [b"OK"], b"1", b"PONG"]


def test_bytes_that_come_while_an_exec_waits_keep_their_order(house):
    home = house(at_once=False)
    talk = home.talk()
    talk.say(b"WATCH a\r\nMULTI\r\nEXEC\r\n")
    talk.say(b"SET a 1\r\n*x\r\n")
    assert not talk.transport.closing
    home.gateway.pump()
    home.gateway.pump()
    assert parsed(talk.heard()) == [
        b"OK",
        b"OK",
        [],
        b"OK",
        "-ERR Protocol error: invalid multibulk length",
    ]
    assert talk.transport.closing


def test_a_watch_that_failed_lets_no_transaction_through(house):
    home = house()
    talk = home.talk()
    home.gateway.failure = "UNAVAILABLE"
    assert talk.say(b"WATCH a b\r\n") == b"-UNAVAILABLE\r\n"
    home.gateway.failure = None
    assert talk.say(b"MULTI\r\nSET a 1\r\nEXEC\r\n").endswith(
        b"-EXECABORT Transaction discarded because of previous errors.\r\n"
    )
    assert talk.say(b"WATCH a\r\nMULTI\r\nSET a 1\r\nEXEC\r\n").endswith(b"*1\r\n+OK\r\n")


def test_reads_under_watch_are_never_stale(house):
    home = house()
    talk = home.talk()
    talk.say(b"READONLY\r\nGET a\r\nWATCH a\r\nGET a\r\nUNWATCH\r\nGET a\r\n")
    assert [type(event) for event in home.gateway.events] == [
        ClientStaleReads,
        ClientReads,
        ClientStaleReads,
    ]


def test_the_number_of_watched_keys_is_bounded(talk):
    keys = b" ".join(b"k%d" % number for number in range(WATCHED_KEYS_MAX))
    assert talk.say(b"WATCH " + keys + b"\r\n") == b"+OK\r\n"
    assert talk.say(b"WATCH more\r\n") == b"-ERR at most 4096 keys can be watched\r\n"


# ---------------------------------------------------------------- authentication


def test_without_the_password_nothing_is_done(house):
    home = house(password="geheim")
    talk = home.talk()
    assert parsed(talk.say(b"SET a 1\r\nPING\r\nnosuch\r\nMULTI\r\nHELLO 2\r\nAUTH wrong\r\n")) == [
        "-NOAUTH Authentication required.",
        "-NOAUTH Authentication required.",
        "-ERR unknown command 'nosuch', with args beginning with: ",
        "-NOAUTH Authentication required.",
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
        "<proto> AUTH <user> <pass> option can be used to authenticate the client and select the "
        "RESP protocol version at the same time",
        "-WRONGPASS invalid username-password pair or user is disabled.",
    ]
    assert home.gateway.events == []


@pytest.mark.parametrize(
    "auth", [b"AUTH geheim", b"AUTH default geheim", b"HELLO 2 AUTH default geheim"]
)
def test_with_the_password_everything_is_done_until_reset(house, auth):
    talk = house(password="geheim").talk()
    large = b"*12\r\n$4\r\nMGET\r\n" + b"$1\r\na\r\n" * 11
    replies = parsed(talk.say(auth + b"\r\n" + large + b"RESET\r\nGET a\r\n"))
    assert replies[1:] == [[None] * 11, b"RESET", "-NOAUTH Authentication required."]


def test_an_unauthenticated_client_may_not_announce_much(house):
    talk = house(password="geheim").talk()
    assert (
        talk.say(b"*12\r\n$4\r\nMGET\r\n")
        == b"-ERR Protocol error: unauthenticated multibulk length\r\n"
    )
    assert talk.transport.closing
