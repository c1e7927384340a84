/** The page at `/`: what this is, and a request to copy. */
export function landingPage(model: string, origin: string): string {
  const body = JSON.stringify({
    model,
    messages: [{ role: 'user', content: 'Tell me a story about a dog and a boat.' }],
  });
  const curl = `curl ${origin}/v1/chat/completions \\\n  -H 'Content-Type: application/json' \\\n  -d '${body.replaceAll("'", "'\\''")}'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Quire</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; }
  pre { padding: 1rem; overflow-x: auto; border: 1px solid #8884; border-radius: 6px; }
  code { font: 14px/1.5 ui-monospace, monospace; }
</style>
</head>
<body>
<h1>Quire</h1>
<p>This server answers OpenAI's API with the model <code>${escapeHtml(model)}</code>.</p>
<pre><code>${escapeHtml(curl)}</code></pre>
<ul>
<li><code>GET /v1/models</code></li>
<li><code>POST /v1/chat/completions</code>, <code>POST /v1/completions</code>: whole or streamed</li>
<li><code>GET /health</code>, <code>GET /metrics</code> (Prometheus), <code>GET /version</code></li>
</ul>
</body>
</html>
`;
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
