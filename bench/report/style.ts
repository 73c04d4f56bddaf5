/** The page's one style sheet. Colours: sluice stands out, the limits are dark, everyone else is quiet. */
export const style = `
:root {
  --paper: #fbfaf7; --card: #ffffff; --ink: #1c2126; --quiet: #69727d; --line: #e6e3db;
  --sluice: #0f7c8c; --node: #a9b1ba; --bun: #d9a05b; --c: #39424d; --good: #2b8a3e; --bad: #c2372e; --whisker: #1c2126;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181c; --card: #1b2025; --ink: #e6e8ea; --quiet: #939ca6; --line: #2b3239;
    --sluice: #35b3c4; --node: #5f6972; --bun: #b58248; --c: #b9c2cb; --good: #5bc772; --bad: #f0766c; --whisker: #f4f5f6;
  }
}
* { box-sizing: border-box; margin: 0; }
body { background: var(--paper); color: var(--ink); font: 15px/1.55 system-ui, -apple-system, 'Segoe UI', sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 56px 20px 80px; }
header { margin-bottom: 36px; }
h1 { font-size: 34px; line-height: 1.15; letter-spacing: -.02em; font-weight: 680; }
h1 span { color: var(--sluice); }
.lead { color: var(--quiet); margin-top: 10px; max-width: 46em; }
.machine { margin-top: 16px; display: flex; flex-wrap: wrap; gap: 6px; font-size: 13px; }
.machine span { border: 1px solid var(--line); border-radius: 99px; padding: 2px 11px; background: var(--card); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin-bottom: 30px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; }
.tile b { display: block; font-size: 30px; line-height: 1.2; letter-spacing: -.02em; color: var(--sluice); font-weight: 680; }
.tile span { display: block; font-weight: 560; line-height: 1.4; margin-top: 2px; }
.tile small { color: var(--quiet); font-size: 13px; display: block; line-height: 1.4; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 24px 14px; margin-bottom: 18px; }
h2 { font-size: 17px; font-weight: 640; letter-spacing: -.005em; }
h2 + p { color: var(--quiet); font-size: 13px; margin-bottom: 8px; }
svg { display: block; width: 100%; min-width: 600px; height: auto; font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; }
svg text { dominant-baseline: central; fill: var(--ink); }
.name { text-anchor: end; } .sluice:not(.variant) .name { font-weight: 620; }
.value { text-anchor: end; font-variant-numeric: tabular-nums; font-weight: 620; }
.tick { text-anchor: middle; fill: var(--quiet) !important; font-size: 11px; }
.grid { stroke: var(--line); fill: none; }
.hit { fill: transparent; } g:hover .hit { fill: color-mix(in srgb, var(--quiet) 9%, transparent); }
.sluice .bar { fill: var(--sluice); } .variant .bar { fill-opacity: .5; } .node .bar { fill: var(--node); } .bun .bar { fill: var(--bun); } .c .bar { fill: var(--c); }
.whisker { stroke: var(--whisker); fill: none; stroke-width: 1.4; }
.round { fill: var(--whisker); stroke: var(--card); stroke-width: .8; }
.limit { stroke: var(--c); stroke-dasharray: 2 3; fill: none; stroke-width: 1.2; }
.limit-name { text-anchor: middle; font-size: 11px; fill: var(--quiet) !important; }
.target.met { fill: var(--good); } .target.missed { fill: var(--bad); }
.targets th:nth-child(-n+3), .targets td:nth-child(-n+3), .targets td:last-child { text-align: left; }
.targets td:first-child, .targets th:first-child { padding-left: 0; }
.targets table { font-size: 13px; }
details { border-top: 1px solid var(--line); margin-top: 10px; padding-top: 8px; font-size: 13px; }
summary { cursor: pointer; color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 8px 0 6px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 0 5px 18px; border-bottom: 1px solid var(--line); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
th { font-weight: 500; color: var(--quiet); } th:first-child, td:first-child { text-align: left; padding-left: 0; }
.met { color: var(--good); } .missed { color: var(--bad); }
.problems { border-color: var(--bad); } .problems h2 { color: var(--bad); }
ul { padding-left: 1.2em; margin: 6px 0; } li { margin: 3px 0; }
.key { display: flex; flex-wrap: wrap; gap: 4px 20px; color: var(--quiet); font-size: 13px; margin: 0 2px 14px; }
.key i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 7px; vertical-align: -1px; }
footer { color: var(--quiet); font-size: 13px; margin-top: 28px; }
@media print { body { background: #fff; } .card, .tile { break-inside: avoid; } }
`
