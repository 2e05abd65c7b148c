"""Settings of the service: where they come from, and what they never show."""

from pathlib import Path

import pytest

from haystack.errors import ConfigError
from haystack.runs.settings import MailSettings, ServiceSettings, load_service_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A folder without a settings file, and an environment without settings."""
    import os

    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("HAYSTACK_"):
            monkeypatch.delenv(name)
    for name in ("FRONTEND_OUT_DIR", "PORT"):
        monkeypatch.delenv(name, raising=False)


def test_the_environment_wins_over_the_file(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "service.yaml").write_text("port: 9000\nmax_concurrent_runs: 7\nmail: {events: [failed]}\n")
    monkeypatch.setenv("HAYSTACK_PORT", "9001")
    monkeypatch.setenv("HAYSTACK_ADMINS", "Root@example.org, ada@example.org")
    monkeypatch.setenv("HAYSTACK_MAIL__BACKEND", "smtp")
    monkeypatch.setenv("HAYSTACK_MAIL__SENDER", "h@example.org")
    monkeypatch.setenv("FRONTEND_OUT_DIR", str(tmp_path))
    settings = load_service_settings()
    assert (settings.port, settings.max_concurrent_runs) == (9001, 7)
    assert settings.admins == ["root@example.org", "ada@example.org"]
    assert (settings.mail.backend, settings.mail.events) == ("smtp", ["failed"])
    assert settings.frontend_out_dir == tmp_path
    assert load_service_settings(port=9002).port == 9002


def test_a_named_file_is_read_and_must_be_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HAYSTACK_SERVICE_CONFIG", str(tmp_path / "service.yaml"))
    with pytest.raises(ConfigError, match="no such file"):
        load_service_settings()
    (tmp_path / "service.yaml").write_text("port: 9000\n")
    assert load_service_settings().port == 9000


def test_secrets_come_from_the_secrets_folder_too(tmp_path, monkeypatch):
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "haystack_database_url").write_text("postgresql://u:hunter2@h/x")
    monkeypatch.setenv("HAYSTACK_SECRETS_DIR", str(secrets))
    settings = load_service_settings()
    assert settings.url.get_secret_value() == "postgresql://u:hunter2@h/x"
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


@pytest.mark.parametrize(
    "text",
    [
        "mail: {smtp_password: hunter2}",
        "mail: {sendgrid_api_key: hunter2}",
        "database_url: postgresql://u:hunter2@h/x",
        "signing_secret: hunter2hunter2hunter2hunter2hunter2",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_shown(tmp_path, text):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "service.yaml").write_text(text)
    with pytest.raises(ConfigError, match="Set it in the environment") as caught:
        load_service_settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HAYSTACK_PORT", "hunter2", "HAYSTACK_PORT"),
        ("HAYSTACK_MAX_CONCURRENT_RUNS", "0", "max_concurrent_runs"),
        ("HAYSTACK_CORS_ORIGINS", "*", "name the origins one by one"),
        ("HAYSTACK_MAIL__BACKEND", "smtp", "HAYSTACK_MAIL__SENDER"),
        ("HAYSTACK_SIGNING_SECRET", "hunter2", "signing_secret"),
    ],
)
def test_wrong_values_are_named_but_not_shown(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said) as caught:
        load_service_settings()
    assert "hunter2" not in str(caught.value)


def test_several_wrong_values_are_not_shown_either(monkeypatch):
    monkeypatch.setenv("HAYSTACK_PORT", "hunter2")
    monkeypatch.setenv("HAYSTACK_DEBUG", "hunter2")
    with pytest.raises(ConfigError) as caught:
        load_service_settings()
    assert "hunter2" not in str(caught.value)
    assert "HAYSTACK_PORT" in str(caught.value)
    assert "debug" in str(caught.value)


def test_an_unknown_key_of_the_file_is_refused(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "service.yaml").write_text("prot: 9000\n")
    with pytest.raises(ConfigError, match="prot"):
        load_service_settings()


def test_folders_are_absolute(tmp_path):
    settings = load_service_settings()
    assert settings.work_dir == tmp_path / "service"
    assert settings.url.get_secret_value() == f"sqlite:///{tmp_path}/service/haystack.sqlite"


def test_cloud_run_says_the_port(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "service.yaml").write_text(f"port: 9000\nfrontend_out_dir: {tmp_path}\n")
    assert load_service_settings().port == 9000
    assert load_service_settings().frontend_out_dir == tmp_path
    monkeypatch.setenv("PORT", "8080")
    assert load_service_settings().port == 8080
    monkeypatch.setenv("HAYSTACK_PORT", "9001")
    assert load_service_settings().port == 9001
    assert load_service_settings(port=9002).port == 9002


def test_lists_are_written_with_commas(monkeypatch):
    monkeypatch.setenv("HAYSTACK_MAIL__EVENTS", "failed, cancelled")
    monkeypatch.setenv("HAYSTACK_CORS_ORIGINS", "https://a.example.org,https://b.example.org")
    settings = load_service_settings()
    assert settings.mail.events == ["failed", "cancelled"]
    assert settings.cors_origins == ["https://a.example.org", "https://b.example.org"]


def test_every_setting_is_documented():
    """With its variable, and the words that stand under the field."""
    text = (Path(__file__).parents[3] / "docs" / "service.md").read_text()
    fields = {
        f"HAYSTACK_{name.upper()}": field for name, field in ServiceSettings.model_fields.items() if name != "mail"
    }
    fields["FRONTEND_OUT_DIR"] = fields.pop("HAYSTACK_FRONTEND_OUT_DIR")
    fields |= {f"HAYSTACK_MAIL__{name.upper()}": field for name, field in MailSettings.model_fields.items()}
    for name, field in fields.items():
        row = next((line for line in text.splitlines() if line.startswith(f"| `{name}` |")), None)
        assert row is not None, name
        assert " ".join(field.description.split()) in row, f"{name}: {field.description}"
