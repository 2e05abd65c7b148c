"""E-mail when a run ends: by SMTP or SendGrid, off by default. What fails here is logged, and never touches a run."""

from __future__ import annotations

import html
import json
import logging
import smtplib
import ssl
import threading
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Protocol

from haystack.errors import HaystackError
from haystack.report.words import REASONS
from haystack.runs.errors import StoreError
from haystack.runs.models import Notification, RunRecord, RunStatus
from haystack.runs.settings import MailSettings, ServiceSettings
from haystack.runs.store import RunStore
from haystack.runs.views import result_lines

log = logging.getLogger(__name__)
ATTEMPTS = 3
"""tries per e-mail, where the server certainly did not take it"""


class MailError(HaystackError):
    """An e-mail was not taken by the server."""


class Sender(Protocol):
    """Something that delivers one e-mail, or raises MailError."""

    def send(self, message: EmailMessage) -> None:
        """Deliver."""


class Smtp:
    """A mail server, spoken to over TLS unless the settings say otherwise."""

    def __init__(self, settings: MailSettings) -> None:
        self.settings = settings

    def send(self, message: EmailMessage) -> None:
        """Deliver."""
        mail = self.settings
        try:
            with self._connect() as server:
                if mail.smtp_tls == "starttls":
                    server.starttls(context=ssl.create_default_context())
                if mail.smtp_user and mail.smtp_password:
                    server.login(mail.smtp_user, mail.smtp_password.get_secret_value())
                server.send_message(message)
        except smtplib.SMTPResponseException as error:
            # A server's answer to a login may repeat it; its code says enough.
            raise MailError(f"{mail.smtp_host}: the mail server answers {error.smtp_code}") from None
        except (OSError, smtplib.SMTPException) as error:
            raise MailError(f"{mail.smtp_host}:{mail.smtp_port}: {type(error).__name__}") from None

    def _connect(self) -> smtplib.SMTP:
        mail = self.settings
        if mail.smtp_tls == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(mail.smtp_host, mail.smtp_port, timeout=mail.timeout, context=context)
        return smtplib.SMTP(mail.smtp_host, mail.smtp_port, timeout=mail.timeout)


class SendGrid:
    """SendGrid's mail API."""

    def __init__(self, settings: MailSettings) -> None:
        self.settings = settings

    def send(self, message: EmailMessage) -> None:
        """Deliver."""
        import requests

        mail = self.settings
        assert mail.sendgrid_api_key is not None
        plain, page = (message.get_body((kind,)) for kind in ("plain", "html"))
        assert plain is not None
        assert page is not None
        body = {
            "personalizations": [{"to": [{"email": str(message["To"])}]}],
            "from": {"email": mail.sender},
            "subject": str(message["Subject"]),
            "content": [
                {"type": "text/plain", "value": plain.get_content()},
                {"type": "text/html", "value": page.get_content()},
            ],
        }
        try:
            answer = requests.post(
                mail.sendgrid_url,
                data=json.dumps(body),
                headers={
                    "Authorization": f"Bearer {mail.sendgrid_api_key.get_secret_value()}",
                    "Content-Type": "application/json",
                },
                timeout=mail.timeout,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise MailError(f"SendGrid cannot be reached ({type(error).__name__})") from None
        if answer.status_code not in {200, 202}:
            raise MailError(f"SendGrid answers {answer.status_code} {answer.reason}")


def sender(settings: MailSettings) -> Sender:
    """The one that the settings name."""
    return SendGrid(settings) if settings.backend == "sendgrid" else Smtp(settings)


class Postman:
    """One thread that sends what is due. Of several processes, each e-mail is taken by one.

    An e-mail is marked before it is handed over: after a kill in between it may be missing, but never comes twice.
    """

    def __init__(self, settings: ServiceSettings, store: RunStore, deliver: Sender | None = None) -> None:
        self.settings, self.store = settings, store
        self._sender = deliver or sender(settings.mail)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Work in the background."""
        self._thread = threading.Thread(target=self._run, name="haystack-postman", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the e-mail that is being sent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.round()
            except StoreError as error:
                log.warning("%s", error)
            self._stop.wait(self.settings.poll_seconds)

    def round(self) -> None:
        """Send all that is due now."""
        for run in self.store.select_runs(notification=Notification.DUE):
            if self._stop.is_set():
                return
            if self.store.take_notification(run.run_id):
                self._send(run)

    def _send(self, run: RunRecord) -> None:
        state = Notification.SENT
        try:
            self._sender.send(write_message(run, self.settings))
        except MailError as error:
            again = run.notification_attempts + 1 < ATTEMPTS
            state = Notification.DUE if again else Notification.FAILED
            log.warning("%s: the e-mail about its end was not sent: %s", run.run_id, error)
        except Exception:
            # An address that is none, or a bug: told with its trace, and not tried again.
            state = Notification.FAILED
            log.exception("%s: the e-mail about its end could not be written", run.run_id)
        self.store.change(run.run_id, lambda _: {"notification": state})


def write_message(run: RunRecord, settings: ServiceSettings) -> EmailMessage:
    """Plain text and HTML. What a person wrote stands in the body only, escaped; headers refuse line breaks.

    Raises
    ------
    ValueError
        for an address that is none.
    """
    lines = [f"Your question: {run.query}", *_told(run)]
    if settings.public_url:
        lines.append(f"{settings.public_url.rstrip('/')}/#/runs/{run.run_id}")
    message = EmailMessage()
    message["Subject"] = f"HAYSTACK run {run.run_id}: {run.status}"
    message["From"] = settings.mail.sender
    message["To"] = run.user_email
    message["Date"] = formatdate()
    message["Message-ID"] = make_msgid(idstring=run.run_id, domain=settings.mail.sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n\n".join(lines) + "\n")
    paragraphs = "\n".join(f"<p>{html.escape(line)}</p>" for line in lines)
    message.add_alternative(f"<!doctype html>\n<html><body>\n{paragraphs}\n</body></html>\n", subtype="html")
    return message


def _told(run: RunRecord) -> list[str]:
    if run.status is RunStatus.CANCELLED:
        return ["The run was cancelled."]
    if run.status is RunStatus.FAILED:
        return [f"The run failed: {run.error_message or 'no reason was given'}"]
    told = result_lines(run.result) if run.result else []
    ended = REASONS.get(str(run.termination_reason), "the run ended")
    return ["The run is completed.", *told, f"It stopped because {ended}."]
