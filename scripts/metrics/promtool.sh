#!/usr/bin/env bash
# Has Prometheus' own checker read /metrics of a server with the bundled model, and Prometheus scrape it. Installs Debian's package
# prometheus where it is missing. Fails on any complaint but two that are of vLLM's names: colons, and a histogram called _total.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v promtool > /dev/null; then
  as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" apt-get install --yes -qq --no-install-recommends prometheus > /dev/null
fi

work=$(mktemp -d)
node packages/server/dist/cli/main.js serve models/tiny-llama --served-model-name tiny --device reference --port 0 \
  > "$work/out" 2> "$work/err" &
server=$!
prometheus_pid=
trap 'kill $server $prometheus_pid 2> /dev/null || true; wait; rm -rf "$work"' EXIT
for _ in $(seq 300); do grep -q 'Serving' "$work/out" && break; sleep 0.2; done
origin=$(sed -n 's/^Serving .* on //p' "$work/out")
[ -n "$origin" ] || { cat "$work/err"; exit 1; }

curl -sSf "$origin/v1/completions" -H 'content-type: application/json' \
  -d '{"model": "tiny", "prompt": "Once", "max_tokens": 8}' > /dev/null
curl -sSf "$origin/metrics" > "$work/metrics"
promtool check metrics < "$work/metrics" > "$work/lint" 2>&1 || true
known="metric names should not contain ':'|^vllm:iteration_tokens_total non-counter metrics"
others=$(grep -vE "$known" "$work/lint" || true)
echo "promtool: $(grep -c '^# TYPE' "$work/metrics") metrics, $(grep -c "should not contain ':'" "$work/lint") complaints of colons"
if [ -n "$others" ]; then printf 'promtool also says:\n%s\n' "$others"; exit 1; fi

cat > "$work/prometheus.yml" << YML
global: { scrape_interval: 1s }
scrape_configs:
  - job_name: quire
    static_configs: [{ targets: ['${origin#http://}'] }]
YML
port=$(node -e "const s = require('net').createServer().listen(0, '127.0.0.1', () => { console.log(s.address().port); s.close(); })")
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" \
  --web.listen-address="127.0.0.1:$port" > "$work/prometheus.log" 2>&1 &
prometheus_pid=$!
query="http://127.0.0.1:$port/api/v1/query?query=vllm:generation_tokens_total"
for _ in $(seq 100); do
  curl -sS "$query" 2> /dev/null | grep -q '"model_name":"tiny"' && break
  sleep 0.2
done
curl -sS "$query" | grep -q '"value":\[[0-9.]*,"8"\]' || { curl -sS "$query"; exit 1; }
echo 'prometheus: scraped, vllm:generation_tokens_total is 8'
