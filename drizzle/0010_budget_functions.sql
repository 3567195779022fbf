-- Where the money of budgets moves: nothing else changes `spent_nano`, `held_nano` or the table holds.
--
-- Whoever moves money makes the period rows that are missing, in the order of their ids, then locks all that it will
-- touch, in the order of their ids, and only then looks. So nobody waits in a circle, and what was tested stays true.

-- The first moment of a local date. A midnight that the clocks skip is the moment they skip at, as Postgres has it; of
-- one that comes twice it takes the second, and here it is the first.
CREATE FUNCTION budget_day_start(day timestamp, zone text) RETURNS timestamptz LANGUAGE plpgsql STABLE AS $$
DECLARE
  start timestamptz := day AT TIME ZONE zone;
BEGIN
  -- Clocks are put back by an hour, in a few places by half of one or by two.
  IF (start - interval '1 hour') AT TIME ZONE zone = day THEN
    RETURN start - interval '1 hour';
  ELSIF (start - interval '30 minutes') AT TIME ZONE zone = day THEN
    RETURN start - interval '30 minutes';
  ELSIF (start - interval '2 hours') AT TIME ZONE zone = day THEN
    RETURN start - interval '2 hours';
  END IF;
  RETURN start;
END $$;
--> statement-breakpoint
-- The local date on which the period that `at` lies in begins.
CREATE FUNCTION budget_period_date(period text, zone text, week_start text, at timestamptz) RETURNS timestamp
LANGUAGE plpgsql STABLE AS $$
DECLARE
  here timestamp := at AT TIME ZONE zone;
BEGIN
  IF period = 'month' THEN
    RETURN date_trunc('month', here);
  ELSIF period = 'week' AND week_start = 'sunday' THEN
    RETURN date_trunc('week', here + interval '1 day') - interval '1 day';
  ELSIF period = 'week' THEN
    RETURN date_trunc('week', here);
  END IF;
  RETURN date_trunc('day', here);
END $$;
--> statement-breakpoint
-- `total` is one period from the beginning of time as computers count it.
CREATE FUNCTION budget_period_start(period text, zone text, week_start text, at timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
BEGIN
  IF period = 'total' THEN
    RETURN timestamptz 'epoch';
  END IF;
  RETURN budget_day_start(budget_period_date(period, zone, week_start, at), zone);
END $$;
--> statement-breakpoint
CREATE FUNCTION budget_period_end(period text, zone text, week_start text, at timestamptz) RETURNS timestamptz
LANGUAGE plpgsql STABLE AS $$
DECLARE
  length interval := CASE period WHEN 'month' THEN interval '1 month' WHEN 'week' THEN interval '7 days'
    WHEN 'day' THEN interval '1 day' END;
BEGIN
  RETURN budget_day_start(budget_period_date(period, zone, week_start, at) + length, zone);
END $$;
--> statement-breakpoint
CREATE FUNCTION budget_period_id(budget_id text, starts_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT budget_id || '@' || to_char(starts_at AT TIME ZONE 'UTC', 'YYYYMMDD"T"HH24MISS"Z"')
$$;
--> statement-breakpoint
-- As platform/money.ts writes it: at least two decimals, no trailing zeros beyond them.
CREATE FUNCTION format_usd(nano bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT round(usd, greatest(2, min_scale(usd)))::text FROM (SELECT nano::numeric / 1000000000 AS usd) AS amount
$$;
--> statement-breakpoint
CREATE FUNCTION format_time(at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
  SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;
--> statement-breakpoint
-- What an alarm about a budget says.
CREATE FUNCTION budget_payload(period_id text) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_build_object(
    'budget_id', b.id, 'subject', b.subject, 'subject_id', b.subject_id, 'period', b.period, 'hard', b.hard,
    'starts_at', format_time(p.starts_at), 'ends_at', format_time(p.ends_at), 'limit_usd', format_usd(b.limit_nano),
    'spent_usd', format_usd(p.spent_nano), 'held_usd', format_usd(p.held_nano))
  FROM budget_periods p JOIN budgets b ON b.id = p.budget_id WHERE p.id = period_id
$$;
--> statement-breakpoint
-- Makes the rows that are missing of these budgets' periods, in the order of their ids.
CREATE FUNCTION open_periods(budget_ids text[], starts timestamptz[], ends timestamptz[]) RETURNS void
LANGUAGE sql AS $$
  INSERT INTO budget_periods (id, budget_id, starts_at, ends_at)
  SELECT DISTINCT fresh.id, budget_id, starts_at, ends_at
  FROM unnest(budget_ids, starts, ends) AS wanted (budget_id, starts_at, ends_at)
  CROSS JOIN LATERAL (SELECT budget_period_id(budget_id, starts_at) AS id) AS fresh
  WHERE NOT EXISTS (SELECT FROM budget_periods WHERE budget_periods.id = fresh.id)
  ORDER BY fresh.id
  ON CONFLICT DO NOTHING
$$;
--> statement-breakpoint
-- Tells which thresholds these periods have passed, each once, and which have nothing left. Their rows are locked.
CREATE FUNCTION tell_budgets(period_ids text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO alarms (type, once, payload)
  SELECT 'budget.threshold', 'budget.threshold:' || p.id || ':' || threshold,
    budget_payload(p.id) || jsonb_build_object('threshold', threshold)
  FROM budget_periods p JOIN budgets b ON b.id = p.budget_id AND b.ended_at IS NULL
  CROSS JOIN LATERAL unnest(b.thresholds) AS threshold
  WHERE p.id = ANY (period_ids) AND threshold > p.told_percent AND p.spent_nano > 0
    AND p.spent_nano::numeric * 100 >= b.limit_nano::numeric * threshold
  ORDER BY p.id, threshold
  ON CONFLICT DO NOTHING;
  IF FOUND THEN
    UPDATE budget_periods p SET told_percent = greatest(p.told_percent, told.percent)
    FROM (
      SELECT passed.id, max(threshold) AS percent
      FROM budget_periods passed JOIN budgets b ON b.id = passed.budget_id CROSS JOIN LATERAL unnest(b.thresholds) AS threshold
      WHERE passed.id = ANY (period_ids) AND passed.spent_nano::numeric * 100 >= b.limit_nano::numeric * threshold
      GROUP BY passed.id
    ) AS told
    WHERE p.id = told.id;
  END IF;
  PERFORM exhaust_budgets(array_agg(p.id ORDER BY p.id))
  FROM budget_periods p JOIN budgets b ON b.id = p.budget_id AND b.ended_at IS NULL
  WHERE p.id = ANY (period_ids) AND p.exhausted_at IS NULL AND p.spent_nano > 0 AND p.spent_nano >= b.limit_nano
  HAVING count(*) > 0;
END $$;
--> statement-breakpoint
-- Everything is spent in these periods, or half of it and more, and a call was refused that the limit would have room for:
-- tells so, once a period. Where less is spent nothing is told: the call was too large, or others have set money aside
-- that may come back. Their rows are locked.
CREATE FUNCTION exhaust_budgets(period_ids text[]) RETURNS void LANGUAGE sql AS $$
  WITH fresh AS (
    UPDATE budget_periods p SET exhausted_at = now() FROM budgets b
    WHERE p.id = ANY (period_ids) AND p.exhausted_at IS NULL AND b.id = p.budget_id
      AND p.spent_nano::numeric * 2 >= b.limit_nano
    RETURNING p.id
  )
  INSERT INTO alarms (type, once, payload)
  SELECT 'budget.exhausted', 'budget.exhausted:' || id, budget_payload(id) FROM fresh ORDER BY id
  ON CONFLICT DO NOTHING
$$;
--> statement-breakpoint
-- Sets money aside for up to 64 callers, in their order: for each in every hard budget that binds it, or in none.
--
-- `callers`: [{req, nano, before, project_id, user_id, client_id, key_id}], `before` what the caller believes to be held
-- for the request already. Where `before + nano` is held, an earlier answer was lost, and nothing is added. What is held
-- already is added to in the periods it is held in, whatever the time is now.
CREATE FUNCTION take_holds(callers jsonb, own_instance uuid, own_epoch int, own_boot_id text)
RETURNS TABLE (
  req text, ok boolean, periods text[], subject text, subject_id text, period text, ends_at timestamptz
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  -- By the number of a caller the budgets that bind it; ascending in both.
  bound_nos int[];
  bound_budgets text[];
  -- Of each of those budgets its period now.
  now_budgets text[];
  now_periods text[];
  now_starts timestamptz[];
  now_ends timestamptz[];
  -- Of the requests that hold money already: {req: {nano, periods}}.
  had jsonb;
  -- Of every period that is locked: its room, null where nothing is asked of it, and what is taken here.
  ids text[];
  room bigint[];
  taken bigint[];
  refused text[] := '{}';
  caller record;
  wanted text[];
  short int;
  short_limit bigint;
  place int;
  wanted_id text;
  next_bound int := 1;
BEGIN
  IF (SELECT epoch FROM instances WHERE id = own_instance) > own_epoch THEN
    RAISE EXCEPTION 'a later start of this instance has taken over' USING ERRCODE = 'SGF01';
  END IF;
  -- Whoever would wait longer is told that there is no answer.
  PERFORM set_config('lock_timeout', '2000', true), set_config('synchronous_commit', 'on', true),
    -- A plan that is made while the tables are small must not scan them when they are large.
    set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true);

  SELECT array_agg(no ORDER BY no, budget), array_agg(budget ORDER BY no, budget) INTO bound_nos, bound_budgets
  FROM (
    SELECT no, b.id AS budget
    FROM ROWS FROM (jsonb_to_recordset(callers) AS (project_id text, user_id text, client_id text, key_id text))
      WITH ORDINALITY AS called (project_id, user_id, client_id, key_id, no)
    CROSS JOIN LATERAL (
      VALUES ('project', project_id), ('user', user_id), ('client', client_id), ('key', key_id)
    ) AS named (kind, id)
    JOIN budgets b ON b.ended_at IS NULL AND b.subject = named.kind AND b.subject_id = named.id AND b.hard
    UNION ALL
    SELECT no, b.id FROM budgets b CROSS JOIN generate_series(1, jsonb_array_length(callers)) AS no
    WHERE b.ended_at IS NULL AND b.subject = 'global' AND b.hard
  ) AS bound;

  IF bound_nos IS NOT NULL THEN
    SELECT array_agg(b.id), array_agg(budget_period_id(b.id, starts)), array_agg(starts),
      array_agg(budget_period_end(b.period, b.timezone, b.week_start, now()))
    INTO now_budgets, now_periods, now_starts, now_ends
    FROM budgets b
    CROSS JOIN LATERAL (SELECT budget_period_start(b.period, b.timezone, b.week_start, now()) AS starts) AS began
    WHERE b.id = ANY (bound_budgets);
    PERFORM open_periods(now_budgets, now_starts, now_ends);
  END IF;

  SELECT array_agg(id) INTO ids FROM (
    SELECT unnest(now_periods) AS id
    UNION
    SELECT unnest(h.periods) FROM holds h
    WHERE h.req = ANY (ARRAY(SELECT asked.req FROM jsonb_to_recordset(callers) AS asked (req text)))
  ) AS either;
  PERFORM FROM budget_periods WHERE id = ANY (ids) ORDER BY id FOR UPDATE;

  SELECT array_agg(p.id), array_agg(CASE WHEN b.hard AND b.ended_at IS NULL THEN b.limit_nano - p.spent_nano - p.held_nano END),
    array_agg(0::bigint)
  INTO ids, room, taken
  FROM budget_periods p JOIN budgets b ON b.id = p.budget_id WHERE p.id = ANY (ids);
  SELECT jsonb_object_agg(h.req, jsonb_build_object('nano', h.nano, 'periods', h.periods)) INTO had FROM holds h
  WHERE h.req = ANY (ARRAY(SELECT asked.req FROM jsonb_to_recordset(callers) AS asked (req text)));

  FOR caller IN
    SELECT no, called.req, nano, before
    FROM ROWS FROM (jsonb_to_recordset(callers) AS (req text, nano bigint, before bigint))
      WITH ORDINALITY AS called (req, nano, before, no)
    ORDER BY no
  LOOP
    wanted := '{}';
    WHILE bound_nos[next_bound] = caller.no LOOP
      wanted := wanted || now_periods[array_position(now_budgets, bound_budgets[next_bound])];
      next_bound := next_bound + 1;
    END LOOP;
    req := caller.req;
    ok := true;
    subject := NULL; subject_id := NULL; period := NULL; ends_at := NULL;
    IF had ? caller.req THEN
      wanted := ARRAY(SELECT jsonb_array_elements_text(had -> caller.req -> 'periods'));
      IF (had -> caller.req ->> 'nano')::bigint = caller.before + caller.nano THEN
        periods := wanted;
        RETURN NEXT;
        CONTINUE;
      END IF;
    END IF;
    short := NULL;
    FOREACH wanted_id IN ARRAY wanted LOOP
      place := array_position(ids, wanted_id);
      IF room[place] < caller.nano THEN
        short := place;
        EXIT;
      END IF;
    END LOOP;
    IF short IS NOT NULL THEN
      ok := false;
      periods := NULL;
      SELECT b.subject, b.subject_id, b.period, p.ends_at, b.limit_nano
      INTO subject, subject_id, period, ends_at, short_limit
      FROM budget_periods p JOIN budgets b ON b.id = p.budget_id WHERE p.id = ids[short];
      -- One that is larger than the whole limit says nothing about what is left.
      IF caller.nano <= short_limit THEN
        refused := refused || ids[short];
      END IF;
      RETURN NEXT;
      CONTINUE;
    END IF;
    FOREACH wanted_id IN ARRAY wanted LOOP
      place := array_position(ids, wanted_id);
      room[place] := room[place] - caller.nano;
      taken[place] := taken[place] + caller.nano;
    END LOOP;
    IF cardinality(wanted) > 0 THEN
      INSERT INTO holds AS h (req, periods, nano, instance, epoch, boot_id)
      VALUES (caller.req, wanted, caller.nano, own_instance, own_epoch, own_boot_id)
      ON CONFLICT (req) DO UPDATE SET nano = h.nano + excluded.nano;
    END IF;
    periods := wanted;
    RETURN NEXT;
  END LOOP;

  UPDATE budget_periods p SET held_nano = p.held_nano + each_one.nano
  FROM unnest(ids, taken) AS each_one (id, nano) WHERE p.id = each_one.id AND each_one.nano <> 0;
  IF cardinality(refused) > 0 THEN
    PERFORM exhaust_budgets(refused);
  END IF;
END $$;
--> statement-breakpoint
-- Books what the merge changed: what is over gives its hold back, and what it is charged now, or no longer, goes to the
-- periods of its budgets.
--
-- `rows`: [{req, over, nano, charged, hold, at, periods, project_id, user_id, client_id, key_id}], one for what a request
-- is now, with `nano` what it is charged, and one for what it was, with `nano` below zero. A budget that `periods` names
-- is charged in that period; every other live budget of the row's subjects in the one that `at` lies in, from the period
-- on in which the budget was made.
CREATE FUNCTION book_charges(rows jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  over text[] := ARRAY(SELECT req FROM jsonb_to_recordset(rows) AS row_ (req text, over boolean) WHERE row_.over);
  budget_ids text[];
  starts timestamptz[];
  ends timestamptz[];
  moved_ids text[];
  moved_nanos bigint[];
  ids text[];
BEGIN
  PERFORM set_config('enable_seqscan', 'off', true), set_config('plan_cache_mode', 'force_generic_plan', true);
  WITH entry AS MATERIALIZED (
    SELECT row_.*, ARRAY(SELECT split_part(id, '@', 1) FROM unnest(row_.periods) AS id) AS named_budgets
    FROM jsonb_to_recordset(rows) AS row_ (
      nano bigint, at timestamptz, periods text[], project_id text, user_id text, client_id text, key_id text
    )
    WHERE nano <> 0
  ),
  matched AS (
    SELECT b.id, entry.at, entry.nano FROM entry
    CROSS JOIN LATERAL (
      VALUES ('project', project_id), ('user', user_id), ('client', client_id), ('key', key_id)
    ) AS named (kind, id)
    JOIN budgets b ON b.ended_at IS NULL AND b.subject = named.kind AND b.subject_id = named.id
    WHERE b.id <> ALL (named_budgets)
    UNION ALL
    SELECT b.id, entry.at, entry.nano FROM entry
    JOIN budgets b ON b.ended_at IS NULL AND b.subject = 'global' AND b.id <> ALL (named_budgets)
  ),
  span AS MATERIALIZED (
    SELECT b.id, b.period, b.timezone, b.week_start,
      budget_period_start(b.period, b.timezone, b.week_start, b.created_at) AS first_starts,
      budget_period_start(b.period, b.timezone, b.week_start, now()) AS now_starts,
      budget_period_end(b.period, b.timezone, b.week_start, now()) AS now_ends
    FROM budgets b WHERE b.id = ANY (ARRAY(SELECT id FROM matched))
  ),
  placed AS (
    SELECT span.id, sum(nano) AS nano,
      CASE WHEN is_now THEN now_starts ELSE budget_period_start(period, timezone, week_start, at) END AS starts_at,
      CASE WHEN is_now THEN now_ends ELSE budget_period_end(period, timezone, week_start, at) END AS ends_at
    FROM matched JOIN span USING (id)
    CROSS JOIN LATERAL (SELECT at >= now_starts AND (now_ends IS NULL OR at < now_ends) AS is_now) AS judged
    WHERE at >= first_starts
    GROUP BY 1, 3, 4
  ),
  moves AS (
    SELECT budget_period_id(id, starts_at) AS period_id, id, starts_at, ends_at, nano FROM placed
    UNION ALL
    SELECT period_id, NULL, NULL, NULL, nano FROM entry CROSS JOIN LATERAL unnest(entry.periods) AS period_id
    JOIN budgets b ON b.id = split_part(period_id, '@', 1) AND b.ended_at IS NULL
  ),
  sums AS (
    SELECT period_id, max(id) AS id, max(starts_at) AS starts_at, max(ends_at) AS ends_at, sum(nano)::bigint AS nano
    FROM moves GROUP BY period_id HAVING sum(nano) <> 0
  )
  SELECT array_agg(period_id), array_agg(nano), array_agg(id) FILTER (WHERE id IS NOT NULL),
    array_agg(starts_at) FILTER (WHERE id IS NOT NULL), array_agg(ends_at) FILTER (WHERE id IS NOT NULL)
  INTO moved_ids, moved_nanos, budget_ids, starts, ends FROM sums;
  IF budget_ids IS NOT NULL THEN
    PERFORM open_periods(budget_ids, starts, ends);
  END IF;

  SELECT array_agg(id) INTO ids FROM (
    SELECT unnest(moved_ids) AS id UNION SELECT unnest(periods) FROM holds WHERE req = ANY (over)
  ) AS either;
  IF ids IS NOT NULL THEN
    PERFORM FROM budget_periods WHERE id = ANY (ids) ORDER BY id FOR UPDATE;
    WITH gone AS (DELETE FROM holds WHERE req = ANY (over) RETURNING periods, nano)
    UPDATE budget_periods p SET spent_nano = p.spent_nano + change.spent, held_nano = p.held_nano - change.held
    FROM (
      SELECT id, sum(spent) AS spent, sum(held) AS held FROM (
        SELECT unnest(periods) AS id, 0::bigint AS spent, nano AS held FROM gone
        UNION ALL
        SELECT id, nano, 0 FROM unnest(moved_ids, moved_nanos) AS moved (id, nano)
      ) AS each_one GROUP BY id
    ) AS change
    WHERE p.id = change.id;
  END IF;
  IF moved_ids IS NOT NULL THEN
    PERFORM tell_budgets(moved_ids);
  END IF;

  INSERT INTO alarms (type, once, payload)
  SELECT 'budget.overrun', 'budget.overrun:' || req, jsonb_build_object(
    'request_id', req, 'hold_usd', format_usd(hold), 'charged_usd', format_usd(charged), 'project_id', project_id,
    'user_id', user_id, 'client_id', client_id, 'key_id', key_id,
    'budget_ids', to_jsonb(ARRAY(SELECT split_part(id, '@', 1) FROM unnest(row_.periods) AS id)))
  FROM jsonb_to_recordset(rows) AS row_ (
    req text, over boolean, charged bigint, hold bigint, periods text[], project_id text, user_id text, client_id text,
    key_id text
  )
  WHERE row_.over AND charged > hold AND periods IS NOT NULL
  ORDER BY req
  ON CONFLICT DO NOTHING;
END $$;
--> statement-breakpoint
-- Gives back what is held for these requests, which will never have a row, or have one that is over.
CREATE FUNCTION drop_holds(reqs text[]) RETURNS void LANGUAGE sql AS $$
  SELECT book_charges(coalesce(
    (SELECT jsonb_agg(jsonb_build_object('req', req, 'over', true, 'nano', 0)) FROM unnest(reqs) AS req), '[]'))
$$;
--> statement-breakpoint
-- Every merge takes it in common and whoever makes a budget alone: so what is spent already is counted once, there or here.
CREATE FUNCTION lock_budgets(alone boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  IF alone THEN
    PERFORM pg_advisory_xact_lock(1651860583);
  ELSE
    PERFORM pg_advisory_xact_lock_shared(1651860583);
  END IF;
END $$;
--> statement-breakpoint
-- What the calls of a subject were charged between two moments: whole hours from the roll-ups, the rest from the calls.
CREATE FUNCTION sum_charged(subject text, subject_id text, from_at timestamptz, to_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE
  first_hour timestamptz := date_trunc('hour', from_at + interval '1 hour' - interval '1 microsecond', 'UTC');
  end_hour timestamptz := coalesce(date_trunc('hour', to_at, 'UTC'), 'infinity');
  whose text := CASE WHEN subject = 'global' THEN 'true' ELSE format('%I = %L', subject || '_id', subject_id) END;
  level text := CASE subject WHEN 'global' THEN 'totals' WHEN 'project' THEN 'projects' WHEN 'key' THEN 'all' ELSE 'callers' END;
  total bigint;
BEGIN
  IF from_at = 'epoch' AND to_at IS NULL THEN
    -- All of time: years of hours would take too long, and are folded into months.
    EXECUTE format(
      'WITH folded AS (SELECT coalesce((SELECT at FROM usage_marks WHERE name = ''folded''), ''-infinity'') AS at)
       SELECT coalesce((SELECT sum(charged_nano) FROM usage_spans
           WHERE span = ''month'' AND level = %2$L AND tag = '''' AND %1$s), 0)
         + coalesce((SELECT sum(charged_nano) FROM usage_hours
           WHERE hour >= date_trunc(''hour'', (SELECT at FROM folded), ''UTC'') AND %1$s
             AND fold_place(hour, '''', provider, model, project_id, session_id, iteration_id, task_id, user_id, client_id, key_id)
               >= (SELECT at FROM folded)), 0)',
      whose, level) INTO total;
    RETURN total;
  END IF;
  EXECUTE format(
    'SELECT coalesce((SELECT sum(charged_nano) FROM usage_hours WHERE hour >= $1 AND hour < $2 AND %1$s), 0)
       + coalesce((SELECT sum(charged_nano) FROM requests
           WHERE state <> ''open'' AND (at >= $3 AND at < least($1, $4) OR at >= greatest($2, $1) AND at < $4) AND %1$s), 0)',
    whose) INTO total USING first_hour, end_hour, from_at, coalesce(to_at, 'infinity');
  RETURN total;
END $$;
--> statement-breakpoint
-- Opens a budget that was just made, with what its period has spent already. The budgets are locked alone.
CREATE FUNCTION open_budget(budget_id text) RETURNS void LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
  b budgets%ROWTYPE;
  starts timestamptz;
  ends timestamptz;
  spent bigint;
BEGIN
  SELECT * INTO STRICT b FROM budgets WHERE budgets.id = budget_id;
  starts := budget_period_start(b.period, b.timezone, b.week_start, b.created_at);
  ends := budget_period_end(b.period, b.timezone, b.week_start, b.created_at);
  spent := sum_charged(b.subject, b.subject_id, starts, ends);
  LOOP
    INSERT INTO budget_periods (id, budget_id, starts_at, ends_at, spent_nano)
    VALUES (budget_period_id(b.id, starts), b.id, starts, ends, spent);
    PERFORM tell_budgets(ARRAY[budget_period_id(b.id, starts)]);
    EXIT WHEN ends IS NULL;
    -- Calls of clocks that are ahead, or of the time in which this waited for the lock.
    starts := ends;
    ends := budget_period_end(b.period, b.timezone, b.week_start, starts);
    spent := sum_charged(b.subject, b.subject_id, starts, ends);
    EXIT WHEN spent = 0;
  END LOOP;
END $$;
