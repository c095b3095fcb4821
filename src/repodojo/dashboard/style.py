"""The look of the report: calm, readable in light and dark, and on a narrow screen. No font or image is fetched."""

from __future__ import annotations

COLOURS = """
:root { color-scheme: light dark; --ink: #1f2933; --soft: #66727f; --page: #fbfbf9; --card: #ffffff; --rule: #e4e6e3; }
:root { --base: #9aa5b1; --rft: #d39b3d; --rl: #1f6f8b; --reference: #b9a7c9; }
:root { --good: #2f855a; --bad: #b4532a; --code: #f4f5f2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7ea; --soft: #98a4af; --page: #14181c; --card: #1b2126; --rule: #2d353c; }
  :root { --base: #7b8794; --rft: #e0b060; --rl: #5bb3d0; --reference: #9683ab; }
  :root { --good: #6cc08b; --bad: #e08a63; --code: #12161a; }
}
"""

CHARTS = """
svg { display: block; width: 100%; height: auto; overflow: visible; font: 11px system-ui, sans-serif; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .tick { fill: var(--soft); }
svg .name { fill: var(--ink); font-size: 13px; }
svg .end { text-anchor: end; }
svg .middle { text-anchor: middle; }
svg .mark { stroke: var(--soft); stroke-dasharray: 2 3; }
svg .raw { fill: none; stroke: var(--rl); stroke-width: 1; opacity: .3; }
svg .line { fill: none; stroke: var(--rl); stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
svg .dot { fill: var(--rl); }
svg .base { --own: var(--base); }
svg .rft { --own: var(--rft); }
svg .rl { --own: var(--rl); }
svg .reference { --own: var(--reference); }
svg .alarm { --own: var(--bad); }
svg .own { fill: none; stroke: var(--own); stroke-width: 2.2; stroke-linejoin: round; stroke-linecap: round; }
svg .interval { stroke: var(--own); stroke-width: 3; stroke-linecap: round; opacity: .55; }
svg .point, svg .bar { fill: var(--own); }
"""

PAGE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 27px; line-height: 1.25; margin: 0 0 6px; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 44px 0 12px; font-weight: 620; }
h3 { font-size: 14px; margin: 0 0 6px; font-weight: 600; }
p { margin: 0 0 10px; max-width: 90ch; }
.soft, .eyebrow { color: var(--soft); }
.eyebrow { font-size: 13px; margin-bottom: 14px; overflow-wrap: anywhere; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 16px 18px; }
.card + .card { margin-top: 14px; }
.grid .card, .tiles .card { margin: 0; }
.wide { overflow-x: auto; }
.wide svg { min-width: 640px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 22px 0 0; }
.tiles b { display: block; font-size: 22px; font-weight: 620; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: 13px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 14px; }
.grid .card { display: flex; flex-direction: column; justify-content: space-between; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { text-align: right; padding: 7px 9px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-weight: 500; }
tbody th { font-weight: 600; }
tbody tr:last-child > * { border-bottom: 0; }
table.told th:last-child, table.told td:last-child { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.facts thead { display: none; }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.facts th { width: 150px; color: var(--soft); font-weight: 500; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--soft); margin: 0 0 8px; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 6px; }
i.base { background: var(--base); }
i.rft { background: var(--rft); }
i.rl { background: var(--rl); }
i.reference { background: var(--reference); }
details { margin: 10px 0; }
details > .grid { margin-top: 12px; }
summary { cursor: pointer; }
summary:focus-visible { outline: 2px solid var(--rl); outline-offset: 3px; }
details.episode { padding: 12px 18px; }
details.episode[open] > summary { margin-bottom: 14px; }
.facts-line { display: block; color: var(--soft); font-size: 13px; margin: 2px 0 0 17px; overflow-wrap: anywhere; }
.badge { display: inline-block; border-radius: 20px; padding: 0 9px; font-size: 12.5px; margin-right: 8px; }
.badge { border: 1px solid currentColor; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.turn { border-left: 3px solid var(--rule); padding: 2px 0 2px 14px; margin: 0 0 16px; }
.turn .soft { font-size: 13px; margin: 0 0 4px; }
.turn details { margin: 2px 0 6px; }
pre { background: var(--code); border: 1px solid var(--rule); border-radius: 6px; }
pre { padding: 9px 12px; margin: 4px 0 8px; }
pre { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; white-space: pre-wrap; }
pre { overflow: auto; overflow-wrap: anywhere; max-height: 420px; }
pre.action { border-left: 3px solid var(--rl); }
pre.failed { border-left: 3px solid var(--bad); }
pre .minus { color: var(--bad); }
pre .plus { color: var(--good); }
@media print { details { break-inside: avoid; } }
"""

CSS = COLOURS + CHARTS + PAGE
