"""Screenshots and accessibility of the pages.

    python tests/screenshots.py OUT [--results RESULTS [--run ID]] [--service] [--axe axe.min.js]
    python tests/screenshots.py OUT --run tgfb_lung_fibroblasts --image docs/images/report.png

Summary and report at 1280 and 390 px, dark, and as printed, and the report's first screen as --image; with --service
the pages of a service that is started with made-up runs, at 1280 and 380 px, light and dark. With --axe (`npm pack
axe-core`) it lists violations by impact, and exits 1 if one is serious or critical.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "unit/report"))

from PIL import Image
from report_browser import Browser

SIZES = {
    "1280": (1280, "light", ""),
    "390": (390, "light", ""),
    "dark": (1280, "dark", ""),
    "print": (718, "light", "print"),
}
SERVICE_SIZES = {f"{width}_{scheme}": (width, scheme, "") for width in (1280, 380) for scheme in ("light", "dark")}
AXE = """axe.run().then(result => result.violations.map(
  found => [found.impact, found.id, found.nodes.length, found.nodes[0].html.slice(0, 120)]))"""
FIRST_SCREEN = (1180, 1750)
DRAWN = "[...document.querySelectorAll('.plot')].every(node => node.dataset.drawn)"


def shoot(
    browser: Browser, page: str, name: str, out: Path, axe: str | None, sizes: dict = SIZES, ready: str = DRAWN
) -> list[str]:
    """Save the pictures of one page; its serious violations."""
    serious = []
    for label, (width, scheme, media) in sizes.items():
        browser.send(
            "Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        browser.open("about:blank")
        browser.open(page, width)
        browser.wait(ready)
        if media:
            browser.run("window.dispatchEvent(new Event('beforeprint'))")
            browser.send("Emulation.setEmulatedMedia", media=media)
        height = browser.run("document.documentElement.scrollHeight")
        browser.screenshot(out / f"{name}_{label}.png", width, min(height, 16000))
        if (wide := browser.run("document.documentElement.scrollWidth")) > width:
            print(f"{name} {label}: {wide} px wide")
        if axe and not media:
            browser.run(axe)
            found = browser.run(AXE)
            for impact, rule, n, example in found:
                print(f"{name} {label}: {impact} {rule} ({n}): {example}")
                serious += [rule] if impact in {"serious", "critical"} else []
    return serious


@contextmanager
def service() -> Iterator[tuple[str, dict[str, tuple[str, str]]]]:
    """A service with made-up runs: the address that signs in, and its pages with what shows that they are ready."""
    sys.path.insert(0, str(Path(__file__).parent / "api"))
    from api_support import Proxy, live

    from haystack.query import parse_question

    me, asked = "developer@localhost", "How would lung fibroblasts respond to TGF-beta treatment?"
    with tempfile.TemporaryDirectory() as folder:
        changes = {"debug": True, "admins": [me], "quota_gb": 5, "keep_days": 90}
        with live(Proxy(), Path(folder), **changes) as here, here.client() as client:
            done = here.submit(client, asked, max_iterations=4)
            here.complete(done)
            understood = parse_question(asked).model_dump(mode="json")
            here.store.change(done, lambda _: {"structured_query": understood})
            running = here.submit(client, "How would NK cells of donors with fibrosis respond to ibrutinib?")
            here.advance()
            began = {"event": "stage_started", "stage": "stack_inference", "iteration": 2}
            here.see(running, "running", began, {"event": "iteration_scored", "iteration": 1, "score": 4.25})
            failed = here.submit(client, "How would B cells respond to IL-4?")
            here.advance()
            here.see(failed, "failed", error_type="ModelError", error_message="no such model: models/none")
            here.backend.limit = 1
            queued = [here.submit(client, f"How would monocytes respond to {name}?") for name in ("LPS", "IFN-beta")]
            client.post("/api/v1/tokens", json={"name": "screen of cytokines on the cluster", "days": 30})
            field = "document.getElementById('query')"
            typed = f"{field}.value = {asked!r}, {field}.dispatchEvent(new Event('input')), false"
            shown = "['#preview dl', '#runs td'].every(name => document.querySelector(name))"
            read = f"{field}.value ? {shown} : ({typed})"
            result = "document.querySelector('#result h2') && !document.querySelectorAll('details:not([open])').length"
            opened = "document.querySelectorAll('details').forEach(node => {node.open = true}), Boolean"
            pages = {
                "ask": ("", read),
                "queue": (f"#/runs/{queued[1]}", "Boolean(document.querySelector('#run-line .pending'))"),
                "run": (f"#/runs/{running}", "Boolean(document.querySelector('#scores svg'))"),
                "failed": (f"#/runs/{failed}", "Boolean(document.querySelector('#run-problem p'))"),
                "result": (f"#/runs/{done}", f"({opened}({result}))"),
                "tokens": ("#/tokens", "Boolean(document.querySelector('#token-list td'))"),
                "admin": ("#/admin", "Boolean(document.querySelector('#audit td'))"),
            }
            link = f"{here.url}/login?token={here.app.state.link.secret}"
            yield link, {name: (f"{here.url}/{route}", ready) for name, (route, ready) in pages.items()}


def main() -> int:
    """Every page that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--run")
    parser.add_argument("--service", action="store_true")
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--image", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files = {"summary": args.results / "summary.html"}
    if args.run:
        files["report"] = args.results / "runs" / args.run / f"{args.run}_report.html"
    addresses = {name: path.resolve().as_uri() for name, path in files.items() if path.exists()}
    axe = args.axe.read_text(encoding="utf-8") if args.axe else None
    with Browser(120) as browser:
        serious = [rule for name, page in addresses.items() for rule in shoot(browser, page, name, args.out, axe)]
        if args.image and "report" in addresses:
            browser.send("Emulation.setEmulatedMedia", media="", features=[])
            browser.open(addresses["report"], FIRST_SCREEN[0])
            browser.wait(DRAWN)
            browser.screenshot(args.image, *FIRST_SCREEN)
            Image.open(args.image).convert("RGB").quantize(128).save(args.image, optimize=True)
        if args.service:
            with service() as (link, pages):
                browser.open(link)
                for name, (page, ready) in pages.items():
                    serious += shoot(browser, page, name, args.out, axe, SERVICE_SIZES, ready)
    print(json.dumps({"pictures": len(list(args.out.glob("*.png"))), "serious": len(serious)}))
    return 1 if serious else 0


if __name__ == "__main__":
    sys.exit(main())
