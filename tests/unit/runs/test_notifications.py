"""E-mails about the end of a run, to a real SMTP server and a stand-in for SendGrid, both on this machine."""

import http.server
import json
import ssl
import subprocess
import threading
from email import message_from_bytes, policy

import pytest

from haystack.runs.models import Accuracy, Notification, RunRecord, RunResult, RunStatus, new_run_id, utc_now
from haystack.runs.notifications import MailError, Postman, SendGrid, Smtp, write_message
from haystack.runs.settings import MailSettings, load_service_settings
from haystack.runs.store import RunStore
from ports import free_port

NASTY = 'How do <b>B cells</b> & <script>alert(1)</script> "respond" to IL-4?'


@pytest.fixture
def mailbox():
    """A mail server that keeps what it gets."""
    controller_of = pytest.importorskip("aiosmtpd.controller")

    class Keep:
        def __init__(self):
            self.kept, self.refuse = [], ""

        async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
            if self.refuse:
                return self.refuse
            envelope.rcpt_tos.append(address)
            return "250 OK"

        async def handle_DATA(self, server, session, envelope):  # noqa: N802
            self.kept.append((envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default)))
            return "250 OK"

    keep = Keep()
    keep.port = free_port()
    controller = controller_of.Controller(keep, hostname="127.0.0.1", port=keep.port)
    controller.start()
    yield keep
    controller.stop()


@pytest.fixture
def sendgrid():
    """SendGrid's endpoint, as far as it is used."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.server.asked.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(self.server.answer)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.answer = [], 202
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def mail(**fields) -> MailSettings:
    given = {"backend": "smtp", "sender": "haystack@example.org", "smtp_host": "127.0.0.1", "smtp_tls": "none"}
    return MailSettings(**{**given, **fields})


def settings_of(tmp_path, **fields):
    return load_service_settings(work_dir=tmp_path, mail=mail(**fields), public_url="https://haystack.example.org/")


def record(**fields) -> RunRecord:
    now = utc_now()
    given = {"run_id": new_run_id(), "user_email": "ada@example.org", "query": NASTY, "backend": "local"}
    return RunRecord(**{**given, "created_at": now, "updated_at": now, **fields})


def running(store) -> RunRecord:
    return store.transition(store.create(record()).run_id, RunStatus.RUNNING)


@pytest.fixture
def open_store():
    opened = []

    def start(settings):
        opened.append(RunStore.open(settings))
        return opened[-1]

    yield start
    for store in opened:
        store.close()


def test_each_end_is_told_once(tmp_path, mailbox, open_store):
    settings = settings_of(tmp_path, smtp_port=mailbox.port)
    store = open_store(settings)
    done, failed, cancelled, going = (running(store).run_id for _ in range(4))
    result = RunResult(
        success=True,
        grounding_score=7.8431,
        termination_reason="threshold_reached",
        confidence="low",
        capped_by="Power: 7 treated cells.",
        expected_accuracy=Accuracy(r=0.2, low=-0.1, high=0.4, sentence="Expected r 0.20, from 3 measured contexts."),
        nulls={"a prediction that changes nothing": 7.8},
        cautions=["The evidence scores as high for a null."],
        num_de_genes=3,
        num_upregulated=2,
        num_downregulated=1,
        top_upregulated=[],
        top_downregulated=[],
        enriched_pathways=[],
        activated_tfs=[],
    )
    store.transition(
        done, RunStatus.COMPLETED, final_score=7.8431, termination_reason="threshold_reached", result=result
    )
    store.transition(failed, RunStatus.FAILED, error_message="no <such> model")
    store.cancel(cancelled)
    postmen = [Postman(settings, store) for _ in range(3)]
    threads = [threading.Thread(target=postman.round) for postman in postmen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    Postman(settings, store).round()
    told = {message["Subject"]: message for _, message in mailbox.kept}
    assert len(mailbox.kept) == len(told) == 3
    assert set(told) == {
        f"HAYSTACK run {done}: completed",
        f"HAYSTACK run {failed}: failed",
        f"HAYSTACK run {cancelled}: cancelled",
    }
    assert {tuple(to) for to, _ in mailbox.kept} == {("ada@example.org",)}
    assert {store.get(run_id).notification for run_id in (done, failed, cancelled)} == {Notification.SENT}
    assert store.get(going).notification is Notification.NONE
    text = told[f"HAYSTACK run {done}: completed"].get_body(("plain",)).get_content()
    for said in (
        "Confidence: low (Power: 7 treated cells).",
        "Expected r 0.20, from 3 measured contexts.",
        "2 genes up, 1 gene down.",
        "Composite score 7.84 of 10; for comparison: a prediction that changes nothing 7.80.",
        "Interpret with caution: The evidence scores as high for a null.",
        "It stopped because the score reached its threshold.",
    ):
        assert said in text
    assert f"https://haystack.example.org/#/runs/{done}" in text
    assert "no <such> model" in told[f"HAYSTACK run {failed}: failed"].get_body(("plain",)).get_content()


def test_what_a_person_wrote_is_text(tmp_path):
    page = write_message(record(status=RunStatus.CANCELLED), settings_of(tmp_path)).get_body(("html",)).get_content()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


@pytest.mark.parametrize("address", ["ada@example.org\r\nBcc: eve@example.org", "ada@example.org\nX: y"])
def test_an_address_cannot_add_headers(tmp_path, address, open_store):
    settings = settings_of(tmp_path, smtp_port=1)
    store = open_store(settings)
    run = store.create(record(user_email=address))
    store.cancel(run.run_id)
    Postman(settings, store).round()
    assert store.get(run.run_id).notification is Notification.FAILED


def test_only_the_ends_that_are_asked_for(tmp_path, mailbox, open_store):
    settings = settings_of(tmp_path, smtp_port=mailbox.port, events=["failed"])
    store = open_store(settings)
    store.cancel(running(store).run_id)
    store.transition(running(store).run_id, RunStatus.FAILED, error_message="x")
    Postman(settings, store).round()
    assert len(mailbox.kept) == 1


def test_off_by_default_also_for_runs_that_ended_before_it_was_switched_on(tmp_path, mailbox, open_store):
    store = open_store(load_service_settings(work_dir=tmp_path))
    store.cancel(running(store).run_id)
    settings = settings_of(tmp_path, smtp_port=mailbox.port)
    Postman(settings, open_store(settings)).round()
    assert mailbox.kept == []


def test_a_failed_email_is_tried_again_then_given_up_and_leaves_the_run_alone(tmp_path, mailbox, open_store, caplog):
    settings = settings_of(tmp_path, smtp_port=mailbox.port)
    store = open_store(settings)
    first, second = running(store), running(store)
    mailbox.refuse = "550 no such mailbox"
    store.transition(first.run_id, RunStatus.COMPLETED, final_score=8)
    for _ in range(5):
        Postman(settings, store).round()
    found = store.get(first.run_id)
    assert (found.status, found.final_score) == (RunStatus.COMPLETED, 8)
    assert (found.notification, found.notification_attempts) == (Notification.FAILED, 3)
    assert f"{first.run_id}: the e-mail about its end was not sent" in caplog.text
    store.transition(second.run_id, RunStatus.COMPLETED)
    Postman(settings, store).round()
    mailbox.refuse = ""
    Postman(settings, store).round()
    assert store.get(second.run_id).notification is Notification.SENT
    assert len(mailbox.kept) == 1


def test_an_email_cut_off_by_a_kill_is_not_sent_twice(tmp_path, mailbox, open_store):
    settings = settings_of(tmp_path, smtp_port=mailbox.port)
    store = open_store(settings)
    run = running(store)
    store.cancel(run.run_id)
    assert store.take_notification(run.run_id)
    Postman(settings, store).round()
    assert mailbox.kept == []


def test_a_server_that_is_not_there_is_one_clear_error():
    with pytest.raises(MailError, match=r"127\.0\.0\.1:1: ConnectionRefusedError"):
        Smtp(mail(smtp_port=1)).send(write_message(record(), load_service_settings(mail=mail())))


def test_a_password_goes_over_tls_only(tmp_path, mailbox):
    with pytest.raises(ValueError, match="only over TLS"):
        mail(smtp_user="u", smtp_password="hunter2")
    with pytest.raises(MailError):  # this server offers no STARTTLS: nothing is sent
        Smtp(mail(smtp_port=mailbox.port, smtp_tls="starttls", smtp_user="u", smtp_password="hunter2")).send(
            write_message(record(), settings_of(tmp_path))
        )
    assert mailbox.kept == []


def test_a_certificate_that_nobody_signed_is_refused(tmp_path):
    """STARTTLS without a check of the certificate would give the password to anybody."""
    controller_of = pytest.importorskip("aiosmtpd.controller")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-days", "1"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    port = free_port()
    controller = controller_of.Controller(object(), hostname="127.0.0.1", port=port, tls_context=context)
    controller.start()
    try:
        with pytest.raises(MailError, match="SSLCertVerificationError"):
            Smtp(mail(smtp_port=port, smtp_tls="starttls", smtp_user="u", smtp_password="hunter2")).send(
                write_message(record(), settings_of(tmp_path))
            )
    finally:
        controller.stop()


def test_sendgrid_gets_what_its_api_wants(tmp_path, sendgrid):
    url = f"http://127.0.0.1:{sendgrid.server_address[1]}/v3/mail/send"
    settings = settings_of(tmp_path, backend="sendgrid", sendgrid_api_key="SG.hunter2", sendgrid_url=url)
    run = record(status=RunStatus.COMPLETED)
    SendGrid(settings.mail).send(write_message(run, settings))
    ((path, headers, body),) = sendgrid.asked
    assert (path, headers["Authorization"]) == ("/v3/mail/send", "Bearer SG.hunter2")
    assert body["personalizations"] == [{"to": [{"email": "ada@example.org"}]}]
    assert body["from"] == {"email": "haystack@example.org"}
    assert body["subject"] == f"HAYSTACK run {run.run_id}: completed"
    assert [part["type"] for part in body["content"]] == ["text/plain", "text/html"]
    assert NASTY in body["content"][0]["value"]
    assert "<script>" not in body["content"][1]["value"]
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize("answer", [401, 302, 500])
def test_sendgrid_says_no(tmp_path, sendgrid, answer):
    sendgrid.answer = answer
    url = f"http://127.0.0.1:{sendgrid.server_address[1]}/v3/mail/send"
    settings = settings_of(tmp_path, backend="sendgrid", sendgrid_api_key="SG.hunter2", sendgrid_url=url)
    with pytest.raises(MailError, match=str(answer)) as caught:
        SendGrid(settings.mail).send(write_message(record(), settings))
    assert "hunter2" not in str(caught.value)
