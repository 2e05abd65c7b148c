"""Screenshots and accessibility of the pages.

    python tests/screenshots.py RESULTS OUT [--run ID] [--service URL] [--axe axe.min.js]

Each page at 1280 and 390 px, dark, and as printed. With --axe (`npm pack axe-core`) it lists violations by impact, and
exits 1 if one is serious or critical.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "unit/report"))

from report_browser import Browser

SIZES = {
    "1280": (1280, "light", ""),
    "390": (390, "light", ""),
    "dark": (1280, "dark", ""),
    "print": (718, "light", "print"),
}
AXE = """axe.run().then(result => result.violations.map(
  found => [found.impact, found.id, found.nodes.length, found.nodes[0].html.slice(0, 120)]))"""
DRAWN = "[...document.querySelectorAll('.plot')].every(node => node.dataset.drawn)"


def shoot(browser: Browser, page: str, name: str, out: Path, axe: str | None) -> list[str]:
    """Save the pictures of one page; its serious violations."""
    serious = []
    for label, (width, scheme, media) in SIZES.items():
        browser.send(
            "Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )
        browser.open(page, width)
        browser.wait(DRAWN)
        if media:
            browser.run("window.dispatchEvent(new Event('beforeprint'))")
            browser.send("Emulation.setEmulatedMedia", media=media)
        height = browser.run("document.documentElement.scrollHeight")
        browser.screenshot(out / f"{name}_{label}.png", width, min(height, 16000))
        if axe and not media:
            browser.run(axe)
            found = browser.run(AXE)
            for impact, rule, n, example in found:
                print(f"{name} {label}: {impact} {rule} ({n}): {example}")
                serious += [rule] if impact in {"serious", "critical"} else []
    return serious


def main() -> int:
    """Every page that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--run")
    parser.add_argument("--service")
    parser.add_argument("--axe", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    pages = {"summary": args.results / "summary.html"}
    if args.run:
        pages["report"] = args.results / "runs" / args.run / f"{args.run}_report.html"
    addresses = {name: path.resolve().as_uri() for name, path in pages.items() if path.exists()}
    if args.service:
        addresses["service"] = args.service
    axe = args.axe.read_text(encoding="utf-8") if args.axe else None
    with Browser(120) as browser:
        serious = [rule for name, page in addresses.items() for rule in shoot(browser, page, name, args.out, axe)]
    print(json.dumps({"pages": sorted(addresses), "serious": len(serious)}))
    return 1 if serious else 0


if __name__ == "__main__":
    sys.exit(main())
