import { afterAll, test } from "bun:test";
import { formatUsd } from "./platform/money.ts";
import { startGateway } from "./testing/gateway.ts";
import { events, json, eventStream } from "./testing/provider-script.ts";
import { ok } from "./testing/wire.ts";
const gateway = await startGateway({ yaml: `
providers:
  openai: { kind: openai, base_url: "PROVIDER", api_key: "sk-x" }
models:
  m: { targets: [{ provider: openai, model: m }], retries: 0 }
prices:
  "openai/*": { input: 1, cached_read: 0.1, output: 2 }
limits: { llm: { streams_per_token: 50 } }
`});
afterAll(() => gateway.close());
const { provider, robo, row } = gateway;
const { ada, olga, vera } = await gateway.people();
const rss=()=>Math.round(process.memoryUsage().rss/1e6);

test("T1 long bare names stay in memory", async () => {
  Bun.gc(true); console.log("T1 rss before", rss());
  for (let i=0;i<60;i++){ const r=await robo.chat({model:`x${i}`+"a".repeat(4<<20)}); if(i<1)console.log(r.status,(await r.text()).slice(0,120)); else await r.text(); }
  Bun.gc(true); await Bun.sleep(300); Bun.gc(true); console.log("T1 rss after 60 x 4MB names", rss());
  for (let i=0;i<60;i++){ const r=await robo.chat({model:`y${i}`+"a".repeat(4<<20)}); await r.text(); }
  Bun.gc(true); await Bun.sleep(300); Bun.gc(true); console.log("T1 rss after 120 x 4MB names", rss());
  for (let i=0;i<60;i++){ const r=await robo.fetch("/v1/models/z"+i+"b".repeat(8000)); await r.text(); }
}, 120000);

test("T1b big model to the provider", async () => {
  provider.script("*", json({choices:[{message:{content:"hi"}}],usage:{prompt_tokens:1,completion_tokens:1}}));
  const r=await robo.chat({model:"openai/"+"a".repeat(200_000)}).catch((e)=>e);
  console.log("T1b", r.status ?? r, r.headers?.get("x-specgate-model")?.length);
  const t=performance.now(); let max=0; let last=performance.now(); const iv=setInterval(()=>{const n=performance.now();max=Math.max(max,n-last);last=n},5);
  const r2=await robo.chat({model:"a".repeat(30<<20)}); await r2.text(); clearInterval(iv); console.log("T1b 30MB bare name", r2.status, Math.round(performance.now()-t)+"ms","longest block",Math.round(max));
}, 60000);

test("T2 NUL and surrogates", async () => {
  provider.script("*", json({id:"a\u0000b",choices:[{message:{content:"hi"}}],usage:{prompt_tokens:1,completion_tokens:1}}));
  for (const model of ["openai/a\u0000b","openai/\ud800x","openai/"+"\u0001".repeat(256)]) {
    const r = await robo.fetch("/v1/chat/completions",{method:"POST",headers:{"content-type":"application/json","idempotency-key":"é".repeat(255),"x-specgate-tags":Array.from({length:8},(_,i)=>"k".repeat(63)+i+"="+"\"".repeat(128)).join(",")},body:JSON.stringify({model,messages:[]})});
    console.log("T2", r.status, (await r.text()).slice(0,200));
    const found = await Promise.race([row(r), Bun.sleep(4000).then(()=>"STUCK")]);
    console.log("T2 row", typeof found==="string"?found:[found?.state, found?.model?.slice(0,5)]);
  }
}, 60000);

test("T3 wrong dialect's limit", async () => {
  const b = await ok<any>(ada,"POST","/budgets",{subject:"project",subject_id:robo.projectId,period:"total",limit_usd:formatUsd(3_000_000)});
  provider.script("*", json({choices:[{message:{content:"hi"}}],usage:{prompt_tokens:10,completion_tokens:16000}}));
  for (const extra of [{}, {max_output_tokens:1}] as any[]) {
    const rs = await Promise.all(Array.from({length:20},()=>robo.chat({model:"m",...extra})));
    console.log("T3",JSON.stringify(extra), rs.map(r=>r.status).join());
    await Promise.all(rs.map(r=>row(r)));
    const read=await ok<any>(ada,"GET",`/budgets/${b.id}`); console.log("T3 limit 0.003 spent", read.current.spent_usd, "held", read.current.held_usd);
  }
  await ok(ada,"DELETE",`/budgets/${b.id}`);
}, 60000);

test("T4 stream places after aborts", async () => {
  provider.script("m", events([{choices:[{index:0,delta:{content:"hi"}}]},{choices:[{index:0,delta:{content:"ho"}}]}],{gapMs:5}));
  let n=0;
  for (let i=0;i<600;i++){ const c=new AbortController(); const ms=(i%40)/4; const p=robo.chat({model:"m",stream:true},{signal:c.signal}).then(async r=>{ if(i%2) await r.text(); }).catch(()=>{n++}); setTimeout(()=>c.abort(),ms); if(i%10===9) await p; }
  await Bun.sleep(3000); console.log("T4 aborted",n,"open", gateway.parts.completions.admittance.streamsOpen);
  // not reading callers
  const cs:AbortController[]=[]; const rs:any[]=[];
  provider.script("m", {headers:eventStream,steps:[{repeat:`data: {"choices":[{"index":0,"delta":{"content":"${"x".repeat(5000)}"}}]}\n\n`,times:5000},"data: [DONE]\n\n"]});
  for(let i=0;i<20;i++){const c=new AbortController();cs.push(c);rs.push(await robo.chat({model:"m",stream:true},{signal:c.signal}));}
  await Bun.sleep(500); console.log("T4 open mid", gateway.parts.completions.admittance.streamsOpen); for(const c of cs)c.abort(); await Bun.sleep(2500); console.log("T4 open after", gateway.parts.completions.admittance.streamsOpen);
}, 120000);
