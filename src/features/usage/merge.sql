-- The merge: a batch of ledger records becomes rows, roll-ups and a watermark, in one statement.
--
-- $1 the records, a JSON array    $2 instance    $3 epoch of their journal    $4 lsn up to which they reach, or null
--
-- A record counts by its rank alone: open 0, lost 1 (unknown, nothing known), unknown 2, final 3. A higher rank replaces
-- a lower one and nothing else does, so the same records in any order, any number of times, give the same rows.
-- The instance's advisory lock is held: nobody else changes these rows between `old_…` and the writes below.
with raw as materialized (
  select *,
    case when t = 'end' and state <> 'unknown' then 3 when t = 'end' then 2 else 1 end as rank,
    case when t = 'end' and close ->> 'state' <> 'unknown' then 3 when t = 'end' then 2 else 1 end as close_rank
  from rows from (
    jsonb_to_recordset($1::text::jsonb) as (
      t text, req text, att int, at timestamptz(3), endpoint text, requested_model text, provider text, model text,
      principal text, user_id text, client_id text, key_id text, project_id text, session_id text, iteration_id text,
      task_id text, tags jsonb, stream boolean, trace_id text, idempotency_key text, prices jsonb, hold bigint,
      periods text[], state text, status int, error text, usage jsonb, cost bigint, delivery text,
      first_token_ms float8, duration_ms float8, kept text[], close jsonb, charged bigint
    )
  ) with ordinality as record (
      t, req, att, at, endpoint, requested_model, provider, model,
      principal, user_id, client_id, key_id, project_id, session_id, iteration_id,
      task_id, tags, stream, trace_id, idempotency_key, prices, hold,
      periods, state, status, error, usage, cost, delivery,
      first_token_ms, duration_ms, kept, close, charged, position
  )
  where t in ('start', 'end', 'lost')
),
starts as materialized (
  select distinct on (req, att) * from raw where t = 'start' order by req, att, position
),
ends as materialized (
  select distinct on (req, att) * from raw where t <> 'start' order by req, att, rank desc, position
),
closes as materialized (
  select distinct on (req) * from raw where t = 'lost' or close is not null order by req, close_rank desc, position
),
touched as materialized (
  select req, min(at) filter (where t = 'start') as first_at, max(att) filter (where t = 'start') as last_att
  from raw group by req
),
-- `= any(array(…))` and not a join: always the index, whatever the planner believes of a table that is still growing.
old_attempts as materialized (
  select *,
    case state when 'open' then 0 when 'unknown' then case when duration_ms is null then 1 else 2 end else 3 end as rank
  from attempts where request_id = any (array(select req from touched))
),
old_requests as materialized (
  select *,
    case state when 'open' then 0 when 'unknown' then case when duration_ms is null then 1 else 2 end else 3 end as rank
  from requests where id = any (array(select req from touched))
),
-- The last attempt of each request whose START is already merged.
named as (
  select request_id, max(attempt) as att from old_attempts where provider <> '' group by request_id
),
write_attempts as (
  insert into attempts (
    request_id, attempt, at, provider, model, prices, state, status, error,
    input, output, cached_read, cache_write, reasoning, audio, cost_nano, first_token_ms, duration_ms
  )
  select req, att,
    -- Of a request whose START is not there yet only the id is known, and the id holds its time (UUIDv7).
    case when old.provider <> '' then old.at else coalesce(s.at, old.at, case when req ~ '^req_[0-9a-f]{32}$'
      then to_timestamp(('x0000' || substr(req, 5, 12))::bit(64)::bigint / 1000.0) else now() end) end,
    coalesce(nullif(old.provider, ''), s.provider, ''),
    coalesce(nullif(old.model, ''), s.model, ''),
    case when old.provider <> '' then old.prices else s.prices end,
    case when better then case when e.t = 'lost' then 'unknown' else e.state end else coalesce(old.state, 'open') end,
    case when better then e.status else old.status end,
    case when better then e.error else old.error end,
    case when better then (e.usage ->> 'input')::bigint else old.input end,
    case when better then (e.usage ->> 'output')::bigint else old.output end,
    case when better then (e.usage ->> 'cached_read')::bigint else old.cached_read end,
    case when better then (e.usage ->> 'cache_write')::bigint else old.cache_write end,
    case when better then (e.usage ->> 'reasoning')::bigint else old.reasoning end,
    case when better then (e.usage ->> 'audio')::bigint else old.audio end,
    case when better then e.cost else old.cost_nano end,
    case when better then round(e.first_token_ms)::int else old.first_token_ms end,
    case when better then case when e.t = 'end' then coalesce(round(e.duration_ms), 0)::int end else old.duration_ms end
  from starts s full join ends e using (req, att)
  left join old_attempts old on old.request_id = req and old.attempt = att
  cross join lateral (select coalesce(e.rank > coalesce(old.rank, 0), false) as better) as judged
  where old.request_id is null or better or (old.provider = '' and s.req is not null)
  on conflict (request_id, attempt) do update set
    at = excluded.at, provider = excluded.provider, model = excluded.model, prices = excluded.prices,
    state = excluded.state, status = excluded.status, error = excluded.error, input = excluded.input,
    output = excluded.output, cached_read = excluded.cached_read, cache_write = excluded.cache_write,
    reasoning = excluded.reasoning, audio = excluded.audio, cost_nano = excluded.cost_nano,
    first_token_ms = excluded.first_token_ms, duration_ms = excluded.duration_ms
),
changed as materialized (
  select touched.req as id,
    case when better then case when c.t = 'lost' then 'unknown' else c.close ->> 'state' end
      else coalesce(old.state, 'open') end as state,
    coalesce(least(touched.first_at, case when old.endpoint <> '' then old.at end), old.at, case when touched.req ~ '^req_[0-9a-f]{32}$'
      then to_timestamp(('x0000' || substr(touched.req, 5, 12))::bit(64)::bigint / 1000.0) else now() end)::timestamptz(3) as at,
    case when newer then s.endpoint else coalesce(old.endpoint, '') end as endpoint,
    case when newer then s.requested_model else coalesce(old.requested_model, '') end as requested_model,
    case when newer then s.provider else coalesce(old.provider, '') end as provider,
    case when newer then s.model else coalesce(old.model, '') end as model,
    case when newer then s.principal else coalesce(old.principal, '') end as principal,
    case when newer then s.user_id else old.user_id end as user_id,
    case when newer then s.client_id else old.client_id end as client_id,
    case when newer then s.key_id else old.key_id end as key_id,
    case when newer then s.project_id else old.project_id end as project_id,
    case when newer then s.session_id else old.session_id end as session_id,
    case when newer then s.iteration_id else old.iteration_id end as iteration_id,
    case when newer then s.task_id else old.task_id end as task_id,
    case when newer then s.tags else old.tags end as tags,
    case when newer then s.stream else coalesce(old.stream, false) end as stream,
    case when newer then s.trace_id else old.trace_id end as trace_id,
    case when newer then s.idempotency_key else old.idempotency_key end as idempotency_key,
    case when newer then s.prices else old.prices end as prices,
    case when newer then s.hold else old.hold_nano end as hold_nano,
    -- A hold whose START never came is known by its periods alone.
    case when newer then s.periods else coalesce(old.periods, c.periods) end as periods,
    case when newer or old.id is null then $2::uuid else old.instance end as instance,
    case when newer or old.id is null then $3::int else old.epoch end as epoch,
    case when better then (c.close ->> 'status')::int else old.status end as status,
    case when better then c.close ->> 'delivery' else old.delivery end as delivery,
    case when better then (c.usage ->> 'input')::bigint else old.input end as input,
    case when better then (c.usage ->> 'output')::bigint else old.output end as output,
    case when better then (c.usage ->> 'cached_read')::bigint else old.cached_read end as cached_read,
    case when better then (c.usage ->> 'cache_write')::bigint else old.cache_write end as cache_write,
    case when better then (c.usage ->> 'reasoning')::bigint else old.reasoning end as reasoning,
    case when better then (c.usage ->> 'audio')::bigint else old.audio end as audio,
    case when better then (c.close ->> 'cost')::bigint else old.cost_nano end as cost_nano,
    case when better then coalesce((c.close ->> 'charged')::bigint, c.charged) else old.charged_nano end as charged_nano,
    case when better then round(c.first_token_ms)::int else old.first_token_ms end as first_token_ms,
    case when better
      then case when c.t = 'end' then coalesce(round((c.close ->> 'duration_ms')::float8), 0)::int end
      else old.duration_ms end as duration_ms
  from touched
  left join starts s on s.req = touched.req and s.att = touched.last_att
  left join closes c on c.req = touched.req
  left join old_requests old on old.id = touched.req
  left join named on named.request_id = touched.req
  cross join lateral (
    select coalesce(c.close_rank > coalesce(old.rank, 0), false) as better,
      coalesce(touched.last_att > coalesce(named.att, 0), false) as newer
  ) as judged
  where old.id is null or better or newer or touched.first_at < old.at
),
write_requests as (
  insert into requests (
    id, state, at, endpoint, requested_model, provider, model, principal, user_id, client_id, key_id, project_id,
    session_id, iteration_id, task_id, tags, stream, trace_id, idempotency_key, prices, hold_nano, periods, instance,
    epoch, status, delivery, input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano,
    first_token_ms, duration_ms
  )
  select
    id, state, at, endpoint, requested_model, provider, model, principal, user_id, client_id, key_id, project_id,
    session_id, iteration_id, task_id, tags, stream, trace_id, idempotency_key, prices, hold_nano, periods, instance,
    epoch, status, delivery, input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano,
    first_token_ms, duration_ms
  from changed
  on conflict (id) do update set
    state = excluded.state, at = excluded.at, endpoint = excluded.endpoint, requested_model = excluded.requested_model,
    provider = excluded.provider, model = excluded.model, principal = excluded.principal, user_id = excluded.user_id,
    client_id = excluded.client_id, key_id = excluded.key_id, project_id = excluded.project_id,
    session_id = excluded.session_id, iteration_id = excluded.iteration_id, task_id = excluded.task_id,
    tags = excluded.tags, stream = excluded.stream, trace_id = excluded.trace_id,
    idempotency_key = excluded.idempotency_key, prices = excluded.prices, hold_nano = excluded.hold_nano,
    periods = excluded.periods, instance = excluded.instance, epoch = excluded.epoch, status = excluded.status,
    delivery = excluded.delivery, input = excluded.input, output = excluded.output,
    cached_read = excluded.cached_read, cache_write = excluded.cache_write, reasoning = excluded.reasoning,
    audio = excluded.audio, cost_nano = excluded.cost_nano, charged_nano = excluded.charged_nano,
    first_token_ms = excluded.first_token_ms, duration_ms = excluded.duration_ms
  returning 1
),
-- What the provider keeps of a call, and whose that is.
write_states as (
  insert into provider_states (provider, id, owner, at)
  select distinct on (known.provider, kept_id, owner) known.provider, kept_id, owner, known.at
  from ends e
  cross join lateral unnest(e.kept) as one(kept_id)
  left join starts s using (req, att)
  left join old_attempts tried on tried.request_id = req and tried.attempt = att
  left join old_requests asked on asked.id = req
  cross join lateral (
    select coalesce(s.provider, tried.provider) as provider, coalesce(s.at, tried.at) as at,
      coalesce(s.project_id, s.principal, asked.project_id, asked.principal) as owner
  ) as known
  where e.kept is not null and coalesce(known.provider, '') <> '' and coalesce(owner, '') <> ''
  order by known.provider, kept_id, owner, known.at
  on conflict (provider, id, owner) do nothing
),
-- What each changed request no longer is, and what it is now. An open request counts nowhere.
counted as (
  select 1 as sign, state, at, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id,
    key_id, tags, input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano, first_token_ms,
    duration_ms
  from changed where state <> 'open'
  union all
  select -1, state, at, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id,
    key_id, tags, input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano, first_token_ms,
    duration_ms
  from old_requests where state <> 'open' and id in (select id from changed)
),
-- Once by itself, and when it has tags once under each and once under `*`.
tagged as (
  select '' as tag, * from counted
  union all
  select one.tag, counted.* from counted cross join lateral (
    select '*' as tag union all select key || '=' || value from jsonb_each_text(tags)
  ) as one where tags is not null and tags <> '{}'
),
-- In its hour and, when it is folded already (store-folds.ts), in what it was folded into.
placed as (
  select 'hour' as span, 'all' as level, * from tagged
  union all
  select folded.*, tagged.* from tagged cross join (values
    ('day', 'totals'), ('day', 'models'), ('day', 'projects'), ('day', 'callers'), ('day', 'all'),
    ('month', 'totals'), ('month', 'models'), ('month', 'projects'), ('month', 'callers'), ('month', 'all')
  ) as folded(span, level)
  cross join (select at as until from usage_marks where name = 'folded') as mark
  where at < until + interval '1 hour' and fold_place(date_trunc('hour', at, 'UTC'), tag, provider, model, project_id,
    session_id, iteration_id, task_id, user_id, client_id, key_id) < until
),
rolled as materialized (
  select span, level, tag, date_trunc(span, at, 'UTC') as starts_at,
    case when level <> 'totals' then provider else '' end as provider,
    case when level <> 'totals' then model else '' end as model,
    case when level not in ('totals', 'models') then coalesce(project_id, '') else '' end as project_id,
    case when level = 'all' then coalesce(session_id, '') else '' end as session_id,
    case when level = 'all' then coalesce(iteration_id, '') else '' end as iteration_id,
    case when level = 'all' then coalesce(task_id, '') else '' end as task_id,
    case when level in ('callers', 'all') then coalesce(user_id, '') else '' end as user_id,
    case when level in ('callers', 'all') then coalesce(client_id, '') else '' end as client_id,
    case when level = 'all' then coalesce(key_id, '') else '' end as key_id,
    sum(sign) as requests, sum(case when state = 'failed' then sign else 0 end) as errors,
    sum(sign * coalesce(input, 0)) as input, sum(sign * coalesce(output, 0)) as output,
    sum(sign * coalesce(cached_read, 0)) as cached_read, sum(sign * coalesce(cache_write, 0)) as cache_write,
    sum(sign * coalesce(reasoning, 0)) as reasoning, sum(sign * coalesce(audio, 0)) as audio,
    sum(sign * coalesce(cost_nano, 0)) as cost_nano, sum(sign * coalesce(charged_nano, 0)) as charged_nano,
    sum(case when state = 'unknown' then sign * coalesce(charged_nano, 0) else 0 end) as unknown_nano,
    coalesce(sum(sign * latency_count(duration_ms)), 0) as latency,
    coalesce(sum(sign * latency_count(first_token_ms)), 0) as first_token
  from placed group by 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
),
-- In key order all of them, so that two instances never wait for each other in a circle.
write_hours as (
  insert into usage_hours as old (
    hour, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id, requests, errors,
    input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano, unknown_nano, latency, first_token
  )
  select starts_at, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id, requests,
    errors, input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano, unknown_nano, latency,
    first_token
  from rolled where span = 'hour' and tag = ''
  order by starts_at, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id
  on conflict (hour, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id)
  do update set
    requests = old.requests + excluded.requests, errors = old.errors + excluded.errors,
    input = old.input + excluded.input, output = old.output + excluded.output,
    cached_read = old.cached_read + excluded.cached_read, cache_write = old.cache_write + excluded.cache_write,
    reasoning = old.reasoning + excluded.reasoning, audio = old.audio + excluded.audio,
    cost_nano = old.cost_nano + excluded.cost_nano, charged_nano = old.charged_nano + excluded.charged_nano,
    unknown_nano = old.unknown_nano + excluded.unknown_nano,
    latency = old.latency + excluded.latency, first_token = old.first_token + excluded.first_token
  returning 1
),
write_tag_hours as (
  insert into usage_tag_hours as old (
    tag, hour, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id, requests, errors,
    input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano, unknown_nano, latency, first_token
  )
  select tag, starts_at, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id,
    requests, errors, input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano, unknown_nano,
    latency, first_token
  from rolled where span = 'hour' and tag <> ''
  order by starts_at, tag, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id
  on conflict (hour, tag, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id)
  do update set
    requests = old.requests + excluded.requests, errors = old.errors + excluded.errors,
    input = old.input + excluded.input, output = old.output + excluded.output,
    cached_read = old.cached_read + excluded.cached_read, cache_write = old.cache_write + excluded.cache_write,
    reasoning = old.reasoning + excluded.reasoning, audio = old.audio + excluded.audio,
    cost_nano = old.cost_nano + excluded.cost_nano, charged_nano = old.charged_nano + excluded.charged_nano,
    unknown_nano = old.unknown_nano + excluded.unknown_nano,
    latency = old.latency + excluded.latency, first_token = old.first_token + excluded.first_token
),
write_spans as (
  insert into usage_spans as old (
    span, level, tag, starts_at, provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id,
    requests, errors, input, output, cached_read, cache_write, reasoning, audio, cost_nano, charged_nano, unknown_nano,
    latency, first_token
  )
  select * from rolled where span <> 'hour'
  order by span, level, tag, starts_at, provider, model, project_id, session_id, iteration_id, task_id, user_id,
    client_id, key_id
  on conflict (span, level, tag, starts_at, provider, model, project_id, session_id, iteration_id, task_id, user_id,
    client_id, key_id)
  do update set
    requests = old.requests + excluded.requests, errors = old.errors + excluded.errors,
    input = old.input + excluded.input, output = old.output + excluded.output,
    cached_read = old.cached_read + excluded.cached_read, cache_write = old.cache_write + excluded.cache_write,
    reasoning = old.reasoning + excluded.reasoning, audio = old.audio + excluded.audio,
    cost_nano = old.cost_nano + excluded.cost_nano, charged_nano = old.charged_nano + excluded.charged_nano,
    unknown_nano = old.unknown_nano + excluded.unknown_nano,
    latency = old.latency + excluded.latency, first_token = old.first_token + excluded.first_token
),
-- What each changed request is charged now, and what it was: see book_charges.
money as (
  select id as req, true as over, coalesce(charged_nano, 0) as nano, charged_nano as charged, hold_nano as hold, at, periods,
    project_id, user_id, client_id, key_id
  from changed where state <> 'open'
  union all
  select id, false, -charged_nano, null, null, at, periods, project_id, user_id, client_id, key_id
  from old_requests where state <> 'open' and charged_nano <> 0 and id in (select id from changed)
),
mark as (
  insert into watermarks as old (instance, epoch, lsn) select $2::uuid, $3::int, $4::bigint where $4::bigint is not null
  on conflict (instance, epoch) do update set lsn = greatest(old.lsn, excluded.lsn)
)
select
  (select max(epoch) from instances where id = $2::uuid) as instance_epoch,
  coalesce((select lsn from watermarks where instance = $2::uuid and epoch = $3::int), 0) as lsn_before,
  (select count(*) from changed)::int as changed,
  -- Counted first, so that the rows are written before the budgets' periods are locked: callers wait for those.
  case when (select count(*) from write_hours) >= 0 and (select count(*) from write_requests) >= 0
      and (exists (select from budgets where ended_at is null) or exists (select from holds))
    then (select book_charges(jsonb_agg(to_jsonb(money))) from money) end as booked
