"""Settings of the run service: from the environment (`HAYSTACK_...`), else from a file. Secrets never from the file."""

from __future__ import annotations

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from haystack.contracts.base import explain
from haystack.errors import ConfigError
from haystack.specs import BACKENDS

DEFAULT_FILE = "config/service.yaml"
Words = Annotated[list[str], NoDecode]
"""a list; in the environment separated by commas"""


End = Literal["completed", "failed", "cancelled"]


def split_words(value: Any) -> Any:
    """A list that is written with commas; anything else is left as it is."""
    return [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value


class MailSettings(BaseModel):
    """E-mail when a run ends. `HAYSTACK_MAIL__BACKEND=smtp`, and so on."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    backend: Literal["none", "smtp", "sendgrid"] = "none"
    """none, smtp or sendgrid"""
    sender: str = ""
    """From address"""
    events: Annotated[list[End], NoDecode] = ["completed", "failed", "cancelled"]
    """outcomes that send an e-mail"""
    smtp_host: str = "localhost"
    """mail server"""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    """its port: 587 for starttls, 465 for tls"""
    smtp_user: str | None = None
    """user name; null: no login"""
    smtp_password: SecretStr | None = None
    """from the environment only"""
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    """starttls, tls, or none for a relay on this machine (not with a password)"""
    sendgrid_api_key: SecretStr | None = None
    """from the environment only"""
    sendgrid_url: str = "https://api.sendgrid.com/v3/mail/send"
    """SendGrid's endpoint"""
    timeout: float = Field(default=15, gt=0)
    """seconds"""

    @field_validator("events", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_words(value)

    @model_validator(mode="after")
    def _complete(self) -> MailSettings:
        if self.backend != "none" and "@" not in self.sender:
            raise ValueError("mail.sender: an e-mail address is needed (HAYSTACK_MAIL__SENDER)")
        if self.backend == "sendgrid" and self.sendgrid_api_key is None:
            raise ValueError("mail.sendgrid_api_key: set HAYSTACK_MAIL__SENDGRID_API_KEY")
        if self.smtp_password is not None and self.smtp_tls == "none":
            raise ValueError("mail.smtp_tls: a password is sent only over TLS; set starttls or tls")
        return self


class ServiceSettings(BaseSettings):
    """Everything that an operator may choose.

    In order: arguments, environment (`HAYSTACK_PORT`, `HAYSTACK_MAIL__SENDER`), files in `HAYSTACK_SECRETS_DIR`, then
    the YAML file that `HAYSTACK_SERVICE_CONFIG` names (`config/service.yaml` where it exists).
    """

    model_config = SettingsConfigDict(
        env_prefix="HAYSTACK_",
        env_nested_delimiter="__",
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    database_url: SecretStr | None = None
    """sqlite:///path or postgresql://user:password@host/name; null: haystack.sqlite in work_dir"""
    cloud_sql_instance: str | None = None
    """project:region:instance, reached by the Cloud SQL connector; database_url then names user and database only"""
    pipeline_dir: Path = Path()
    """folder with workflow/, config/ and resources/"""
    work_dir: Path = Path("service")
    """where runs, the shared index and the default database are kept"""
    backend: str = "local"
    """local: child processes on this machine; batch: coordinator jobs on Google Batch; or the name of a plug-in"""
    configfile: str | None = None
    """config file in pipeline_dir that overrides config/config.yaml for every run"""
    profile: str = "profiles/local"
    """Snakemake profile of local runs, in pipeline_dir"""
    max_concurrent_runs: int = Field(default=2, ge=1, le=1000)
    """local runs at a time; users take turns"""
    max_active_runs_per_user: int = Field(default=100, ge=1)
    """pending and running runs allowed per user"""
    requests_per_minute: int = Field(default=1200, ge=1)
    """requests allowed per user and minute, counted by each service process; more get 429"""
    max_attempts: int = Field(default=3, ge=1)
    """attempts of a run whose process disappears (power cut, SIGKILL) before it fails"""
    keep_days: float | None = Field(default=None, gt=0)
    """days after which an ended run and its files are deleted; null: never"""
    quota_gb: float | None = Field(default=None, gt=0)
    """GB allowed for the local runs of one user; new runs are refused above it; null: no limit"""
    min_free_gb: float = Field(default=1.0, ge=0)
    """GB that must be free in work_dir for the service to report that it is ready"""
    watch: bool = True
    """start and monitor runs in this process; false if `haystack worker` does"""
    poll_seconds: float = Field(default=1.0, gt=0)
    """seconds between two checks of running runs"""
    lease_seconds: float = Field(default=600, gt=0)
    """seconds without a sign of life after which another service marks a service's runs as failed"""
    offline: bool = True
    """true: requests for an LLM or literature are refused, as they need the network"""
    llm: str | None = None
    """provider:model for requests that enable the LLM; null: they are refused"""
    host: str = "127.0.0.1"
    """address to listen on"""
    port: int = Field(default=8000, ge=0, le=65535, validation_alias=AliasChoices("HAYSTACK_PORT", "PORT"))
    """port to listen on; Cloud Run sets PORT"""
    access_log: bool = False
    """print one JSON line per response"""
    debug: bool = False
    """true: single user on this machine, who signs in with a printed link; loopback only"""
    debug_user: str = "developer@localhost"
    """e-mail address of that user"""
    oidc_issuer: str | None = None
    """URL of the OpenID Connect provider, such as https://accounts.google.com"""
    oidc_client_id: str | None = None
    """client id of this service at the provider"""
    oidc_client_secret: SecretStr | None = None
    """from the environment only"""
    oidc_allowed: Words = []
    """e-mail addresses or domains that may sign in; empty: everyone the provider authenticates"""
    session_hours: float = Field(default=12, gt=0, le=24 * 31)
    """hours that a session lasts after sign-in by link or provider"""
    proxy_header: str | None = None
    """header with the user's e-mail address, set by the proxy, such as X-Auth-Request-Email"""
    proxy_secret: SecretStr | None = Field(default=None, min_length=32)
    """secret that the proxy sends as X-Haystack-Proxy-Secret (environment only)"""
    proxy_networks: Words = ["127.0.0.0/8", "::1/128"]
    """networks from which the proxy may connect"""
    iap_audience: str | None = None
    """expected audience of Google IAP's signed header"""
    iap_issuer: str = "https://cloud.google.com/iap"
    """expected issuer of that header"""
    iap_keys_url: str = "https://www.gstatic.com/iap/verify/public_key-jwk"
    """URL of IAP's public keys"""
    admins: Words = []
    """e-mail addresses of admins, who see, cancel and delete all runs"""
    cors_origins: Words = []
    """other origins whose pages may call the API; * is refused"""
    frontend_out_dir: Path | None = Field(default=None, validation_alias="FRONTEND_OUT_DIR")
    """folder of another static front end; null: the built-in page"""
    public_url: str | None = None
    """public URL of the service, for links in e-mails and reports of coordinators"""
    signed_url_minutes: int = Field(default=60, ge=1, le=7 * 24 * 60)
    """minutes until links to result files expire"""
    signing_secret: SecretStr | None = Field(default=None, min_length=32)
    """key for signing links, sessions and report URLs (environment only); null: generated once and kept in work_dir"""
    mail: MailSettings = MailSettings()

    @field_validator("admins", "cors_origins", "oidc_allowed", "proxy_networks", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return split_words(value)

    @field_validator("backend")
    @classmethod
    def _known_backend(cls, value: str) -> str:
        BACKENDS.check(value, "service settings: backend")
        return value

    @field_validator("proxy_networks")
    @classmethod
    def _networks(cls, value: list[str]) -> list[str]:
        return [str(ip_network(network)) for network in value]

    @field_validator("admins", "oidc_allowed")
    @classmethod
    def _lower(cls, value: list[str]) -> list[str]:
        return [address.lower() for address in value]

    @field_validator("cors_origins")
    @classmethod
    def _no_wildcard(cls, value: list[str]) -> list[str]:
        if "*" in value:
            raise ValueError("name the origins one by one; * would let any page use a signed-in person's session")
        return value

    @model_validator(mode="after")
    def _whole(self) -> ServiceSettings:
        if self.oidc_issuer and not self.oidc_client_id:
            raise ValueError("oidc_client_id: set HAYSTACK_OIDC_CLIENT_ID to what the provider calls this service")
        if self.proxy_header and self.proxy_secret is None:
            raise ValueError("proxy_secret: set HAYSTACK_PROXY_SECRET, or anybody could send that header")
        return self

    @model_validator(mode="after")
    def _absolute(self) -> ServiceSettings:
        object.__setattr__(self, "pipeline_dir", self.pipeline_dir.resolve())
        object.__setattr__(self, "work_dir", (self.pipeline_dir / self.work_dir).resolve())
        return self

    @property
    def url(self) -> SecretStr:
        """The database's address; by default a file in `work_dir`."""
        return self.database_url or SecretStr(f"sqlite:///{self.work_dir / 'haystack.sqlite'}")

    def page_url(self, asked: str) -> str:
        """Address of the page with a slash at its end; `asked` is how a request named the service."""
        return (self.public_url or asked).rstrip("/") + "/"

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach the service."""
        return self.host in {"127.0.0.1", "::1", "localhost"}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, secrets folder, YAML file."""
        file = Path(os.environ.get("HAYSTACK_SERVICE_CONFIG", DEFAULT_FILE))
        return init_settings, env_settings, file_secret_settings, YamlConfigSettingsSource(settings_cls, yaml_file=file)


def load_service_settings(**given: Any) -> ServiceSettings:
    """Read environment and file.

    Raises
    ------
    ConfigError
        naming the setting and what is wrong; values of secrets are not shown.
    """
    named = os.environ.get("HAYSTACK_SERVICE_CONFIG")
    if named and not Path(named).is_file():
        raise ConfigError(f"{named}: no such file (HAYSTACK_SERVICE_CONFIG)")
    _refuse_secrets_in_file(Path(named or DEFAULT_FILE))
    if os.environ.get("HAYSTACK_SECRETS_DIR"):
        given["_secrets_dir"] = os.environ["HAYSTACK_SECRETS_DIR"]
    try:
        return ServiceSettings(**given)
    except ValidationError as error:
        raise ConfigError(f"service settings: {_without_values(error)}") from None


def _without_values(error: ValidationError) -> str:
    """What is wrong, by field. No values: one of them might be a secret."""
    return (
        explain(error).split(" (found ")[0]
        if error.error_count() == 1
        else "; ".join(f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
    )


def _refuse_secrets_in_file(path: Path) -> None:
    from haystack.config import read_yaml

    if not path.is_file():
        return
    data = read_yaml(path)
    mail = data.get("mail") or {}
    for where, name in ((mail, "smtp_password"), (mail, "sendgrid_api_key")):
        if isinstance(where, dict) and where.get(name):
            raise ConfigError(
                f"{path}: '{name}' is a secret. Set it in the environment (HAYSTACK_MAIL__{name.upper()})"
            )
    for name in ("signing_secret", "oidc_client_secret", "proxy_secret"):
        if data.get(name):
            raise ConfigError(f"{path}: '{name}' is a secret. Set it in the environment (HAYSTACK_{name.upper()})")
    if (
        "@" in str(data.get("database_url") or "").split("://")[-1].split("/")[0]
        and ":" in str(data["database_url"]).split("://")[-1].split("@")[0]
    ):
        raise ConfigError(f"{path}: database_url holds a password. Set it in the environment (HAYSTACK_DATABASE_URL)")
