// Sends one trace with a stock exporter of OpenTelemetry for JavaScript, and prints its trace id.
//
//     node send.mjs grpc|http|proto URL none|gzip
//
// It is run in the folder where `npm ci` has put the packages, so that they are found.
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.cwd(), "package.json"));
const { SpanStatusCode, trace, context } = require("@opentelemetry/api");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");

const [kind, url, compression] = process.argv.slice(2);
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${kind}`);

const exporter = new OTLPTraceExporter({ url, compression });
const provider = new BasicTracerProvider({
  resource: resourceFromAttributes({ "service.name": `js-${kind}-${compression}` }),
  spanProcessors: [new BatchSpanProcessor(exporter)],
});
const tracer = provider.getTracer("send");
const root = tracer.startSpan("invoke_agent writer");
root.setAttribute("gen_ai.operation.name", "invoke_agent");
// This SDK drops bytes, so a state goes as text.
root.setAttribute("livespan.state", Buffer.from([0, 255, 254, 1]).toString("base64"));
root.setAttribute("livespan.state.encoding", "base64");
const inside = trace.setSpan(context.active(), root);
for (let number = 0; number < 3; number += 1) {
  const child = tracer.startSpan(`chat ${number}`, { startTime: new Date(1_767_225_600_000 + number) }, inside);
  child.setAttribute("gen_ai.operation.name", "chat");
  child.setAttribute("gen_ai.request.model", "gpt");
  child.setAttribute("text", "é".repeat(2000));
  if (number === 2) child.setStatus({ code: SpanStatusCode.ERROR, message: "no" });
  child.end(new Date(1_767_225_600_500 + number));
}
root.end();
await provider.shutdown();
console.log(root.spanContext().traceId);
