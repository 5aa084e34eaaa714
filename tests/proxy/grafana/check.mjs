// Type-checks dashboards with Grafana's own published types: `node check.mjs NODE_MODULES <dashboard.json`. Exit code 1
// and the compiler's messages where something does not fit.
import { readFileSync, writeFileSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const modules = resolve(process.argv[2]);
const ts = createRequire(join(modules, "x.js"))("typescript");
const dashboard = JSON.parse(readFileSync(0, "utf8"));

const panelTypes = { stat: "Stat", table: "Table", text: "Text", timeseries: "TimeSeries" };
// Later versions keep the queries of data sources elsewhere, without types for all of them.
const queryTypes = { prometheus: "Prometheus" };
const at = (from, kind, what, name) => `${from}/dist/esm/raw/composable/${kind}/${what}/x/${name}_types.gen`;

const lines = ['import type { Dashboard, Panel, RowPanel, GraphFieldConfig, TableFieldOptions } from "@grafana/schema";'];
for (const [kind, name] of Object.entries(panelTypes)) {
  lines.push(`import type { Options as ${name}Options } from "${at("@grafana/schema", kind, "panelcfg", `${name}PanelCfg`)}";`);
}
for (const [kind, name] of Object.entries(queryTypes)) {
  lines.push(`import type { ${name}DataQuery } from "${at("grafana-schema-10", kind, "dataquery", `${name}DataQuery`)}";`);
}
// In JSON an enum is its text, and a table's settings of a column may be left to their defaults.
lines.push(`type Plain<T> = T extends string ? \`\${T}\` : T extends (infer U)[] ? Plain<U>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;`);

let number = 0;
const typed = (type, value) => lines.push(`export const c${number++}: Plain<${type}> = ${JSON.stringify(value, null, 1)};`);
for (const panel of dashboard.panels) {
  if (panel.type === "row") {
    typed("RowPanel", panel);
    continue;
  }
  const name = panelTypes[panel.type];
  if (!name) throw new Error(`a panel of unknown type ${panel.type}`);
  typed("Panel", panel);
  // Required by the type, though Grafana has defaults for them.
  typed(`Partial<${name}Options>`, panel.options);
  if (panel.type === "timeseries") typed("GraphFieldConfig", panel.fieldConfig.defaults.custom);
  if (panel.type === "table") typed("Partial<TableFieldOptions>", panel.fieldConfig.defaults.custom);
  for (const target of panel.targets ?? []) {
    const query = queryTypes[target.datasource.type];
    if (query) typed(`${query}DataQuery`, target);
  }
}
typed("Dashboard", { ...dashboard, panels: [] });

const folder = mkdtempSync(join(tmpdir(), "millrace-schema-"));
try {
  symlinkSync(modules, join(folder, "node_modules"));
  const file = join(folder, "dashboard.ts");
  writeFileSync(file, lines.join("\n"));
  const program = ts.createProgram([file], {
    noEmit: true, strict: true, skipLibCheck: true, types: [],
    module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler, target: ts.ScriptTarget.ES2022,
  });
  const found = ts.getPreEmitDiagnostics(program);
  for (const one of found) {
    const line = one.file ? one.file.getLineAndCharacterOfPosition(one.start).line : -1;
    const text = one.file ? one.file.text.split("\n")[line] : "";
    console.log(`${ts.flattenDiagnosticMessageText(one.messageText, "\n")}\n  at: ${text}`);
  }
  console.log(`${number} parts checked`);
  process.exitCode = found.length ? 1 : 0;
} finally {
  rmSync(folder, { recursive: true });
}
