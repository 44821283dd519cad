"""The style sheet of the HTML report. Every pair of colours has a contrast of 4.5 or more (WCAG 2.2, 1.4.3)."""

from __future__ import annotations

STYLE = """\
:root {
  color-scheme: light dark;
  --bg: #ffffff; --card: #f6f7f8; --line: #d3d7dc; --text: #1a1d21; --dim: #545c65;
  --error: #b3261e; --warning: #855000; --note: #0b57a4; --ok: #1a6b3c; --open: #67409b; --skip: #545c65;
  --cpu: #545c65; --cuda: #1a6b3c;
}
@media (prefers-color-scheme: dark) {
  :root {
    --bg: #14171a; --card: #1d2125; --line: #3a4148; --text: #e6e8ea; --dim: #a9b1b9;
    --error: #ff8f86; --warning: #f0b64d; --note: #82bcff; --ok: #74d190; --open: #cbaaff; --skip: #a9b1b9;
    --cpu: #a9b1b9; --cuda: #74d190;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem; max-width: 68rem; background: var(--bg); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.25rem; margin: 2.25rem 0 .75rem; padding-bottom: .25rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
h4 { font-size: .85rem; margin: 1rem 0 .25rem; color: var(--dim); }
p { margin: .25rem 0; }
small { display: block; color: var(--dim); font-size: .82rem; line-height: 1.35; }
.brand, .counts { color: var(--dim); }
.mark {
  display: inline-block; width: .7em; height: .7em; margin-right: .4em; border-radius: 50%; background: currentColor;
}
h1.error .mark, h1.warning .mark { border-radius: 0; transform: rotate(45deg) scale(.85); }
h1.error .mark { color: var(--error); } h1.warning .mark { color: var(--warning); }
h1.open .mark { color: var(--open); } h1.ok .mark { color: var(--ok); }
dl { margin: .5rem 0; }
dl div { display: grid; grid-template-columns: 8rem minmax(0, 1fr); gap: .75rem; padding: .15rem 0; }
dt { color: var(--dim); } dd { margin: 0; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .5rem .6rem; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.areas tr { border-bottom: 1px solid var(--line); }
.areas th { width: 8.5rem; } .areas td:nth-child(2) { width: 1%; }
.badge {
  display: inline-block; padding: 0 .5rem; border: 1px solid currentColor; border-radius: 1rem; white-space: nowrap;
  font-size: .82rem; font-weight: 600; line-height: 1.5;
}
.badge.error { color: var(--error); } .badge.warning { color: var(--warning); } .badge.note { color: var(--note); }
.badge.ok { color: var(--ok); } .badge.open { color: var(--open); } .badge.skip { color: var(--skip); }
.finding {
  margin: 0 0 1rem; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-left-width: .3rem;
  border-radius: .4rem;
}
.finding.error { border-left-color: var(--error); } .finding.warning { border-left-color: var(--warning); }
.finding.note { border-left-color: var(--note); }
.subject, .cause { font-weight: 400; color: var(--dim); }
.message { font-size: 1.02rem; }
.fixes { margin: 0; padding-left: 1.25rem; }
pre {
  margin: .35rem 0; padding: .6rem .75rem; background: var(--bg); border: 1px solid var(--line); border-radius: .3rem;
  white-space: pre-wrap;
}
details { margin-top: .5rem; } summary { cursor: pointer; }
.evidence { padding-left: .25rem; font-size: .92rem; }
.plain { margin: 0; padding-left: 1.1rem; } .plain li { margin: .35rem 0; }
.picture { margin: 0 0 1.75rem; border: 1px solid var(--line); }
.picture caption, .bench caption { text-align: left; padding: .35rem 0; }
.picture thead th { font-size: .82rem; font-weight: 600; color: var(--dim); border-bottom: 1px solid var(--line); }
.picture tbody td { border-top: 1px solid var(--line); }
.picture th[scope=rowgroup] { width: 9rem; background: var(--card); border-right: .2rem solid var(--line); }
.picture th[scope=rowgroup] span { position: sticky; top: .5rem; }
.picture .library { width: 30%; }
.picture .via { width: 11rem; text-align: center; white-space: nowrap; position: relative; }
.picture .via::before {
  content: ""; position: absolute; left: 0; right: .45rem; top: 1.25rem; border-top: 2px solid var(--line);
}
.picture .via::after {
  content: ""; position: absolute; right: 0; top: calc(1.25rem - .28rem); border: .33rem solid transparent;
  border-left: .5rem solid var(--line); border-right: 0;
}
.picture .via span {
  position: relative; padding: .1rem .5rem; background: var(--bg); border: 1px solid var(--line); border-radius: 1rem;
  font-size: .82rem;
}
.picture .absent strong, .picture .absent .via span { color: var(--error); }
.picture .unknown strong, .picture .unknown .via span { color: var(--open); }
.picture .absent .via::before, .picture .unknown .via::before { border-top-style: dashed; }
.picture .absent .via span { border-color: var(--error); } .picture .unknown .via span { border-color: var(--open); }
.picture ol { margin: .25rem 0; padding-left: 1.5rem; font-size: .82rem; }
.picture .ld-library-path { font-weight: 600; }
.faint { color: var(--dim); }
.bench th { width: 14rem; font-weight: 600; } .bench tr { border-bottom: 1px solid var(--line); }
.bar { height: 1.1rem; border-radius: .2rem; background: var(--cpu); } .bar.cuda { background: var(--cuda); }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); color: var(--dim); font-size: .85rem; }
@media (max-width: 44rem) {
  body { padding: 1rem; }
  dl div { grid-template-columns: 1fr; gap: 0; }
  .areas tbody, .areas tr, .picture tbody, .picture tr, .picture td, .bench tbody, .bench tr, .bench th, .bench td {
    display: block; width: 100%;
  }
  .areas tr { display: grid; grid-template-columns: 1fr auto; } .areas td:nth-child(3) { grid-column: 1 / -1; }
  .areas td, .areas th { padding: .2rem 0; width: auto; }
  .picture thead, .picture th[scope=rowgroup] { display: none; }
  .picture tr { border-top: 2px solid var(--line); padding: .35rem 0; }
  .picture tbody td { border: 0; padding: .25rem .6rem; }
  .picture .library, .picture .via { width: 100%; }
  .picture .via { text-align: left; padding-left: 1.5rem; }
  .picture .via::before {
    left: .9rem; right: auto; top: 0; height: 100%; border-top: 0; border-left: 2px solid var(--line);
  }
  .picture .absent .via::before, .picture .unknown .via::before { border-left-style: dashed; }
  .picture .via::after {
    left: .65rem; right: auto; top: auto; bottom: -.2rem; border: .33rem solid transparent; border-bottom: 0;
    border-top: .5rem solid var(--line);
  }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  .finding, .picture tr, .bench tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .picture th[scope=rowgroup] span { position: static; }
}
"""
