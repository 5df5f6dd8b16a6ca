/* SPDX-License-Identifier: Apache-2.0 */
/* Runs and their events: in order, once, all or none, and what is made of damage. */
#include "tests/store/fixture.h"

#include <pthread.h>

#include "store/journal.h"
#include "store/private.h"
#include "store/row.h"
#include "store/sequence.h"
#include "store/tables.h"
#include "store/value.h"

static struct row_change put_run(const char *id, uint64_t number)
{
	return (struct row_change){.kind = ROW_PUT_RUN, .name = id, .run = number};
}

static struct row_change append(uint64_t run, uint64_t sequence, const char *text)
{
	return (struct row_change){
	    .kind = ROW_APPEND_EVENT,
	    .run = run,
	    .sequence = sequence,
	    .text = text,
	    .text_length = strlen(text),
	};
}

static int try_append(struct store *store, uint64_t run, uint64_t sequence, const char *text,
		      struct reason *reason)
{
	struct row_change change = append(run, sequence, text);

	return rows_commit(store, &change, 1, reason);
}

/* A run with its first event. */
static uint64_t start(struct store *store, const char *id)
{
	uint64_t number = journal_next_run(store);
	struct row_change changes[] = {put_run(id, number), append(number, 1, "started")};
	struct reason reason = {0};

	fixture_ok(rows_commit(store, changes, 2, &reason), &reason);
	return number;
}

/* What a walk saw: "run:sequence=text " for each event, "?" for an unreadable text. */
struct seen {
	char text[1024];
	size_t length;
	unsigned int count;
	int stop_with;
};

static int see_event(void *context, const struct event_bytes *event)
{
	struct seen *seen = context;

	seen->count++;
	seen->length += (size_t)snprintf(
	    seen->text + seen->length, sizeof(seen->text) - seen->length, "%d:%d=%.*s ",
	    (int)event->run, (int)event->sequence, event->bytes ? (int)event->length : 1,
	    event->bytes ? (const char *)event->bytes : "?");
	return seen->stop_with;
}

static int see_run(void *context, const char *id, uint64_t number, const struct reason *why)
{
	struct seen *seen = context;

	seen->count++;
	must((number == 0) == (why != NULL));
	seen->length +=
	    (size_t)snprintf(seen->text + seen->length, sizeof(seen->text) - seen->length,
			     "%s=%d%s ", id, (int)number, why ? why->code : "");
	return seen->stop_with;
}

static int count_event(void *context, const struct event_bytes *event)
{
	uint64_t *last = context;

	must(event->sequence == *last + 1);
	*last = event->sequence;
	return 0;
}

static uint64_t count_events(struct store *store, uint64_t run)
{
	uint64_t last = 0;

	must(journal_events(store, run, 0, count_event, &last) == 0);
	return last;
}

Test(journal, events_are_read_back_in_order_after_a_remount)
{
	struct seen all = {0}, runs = {0}, some = {0}, one = {.stop_with = 7};
	struct fixture fixture;
	uint64_t b, a;

	fixture_open(&fixture);
	b = start(fixture.store, "b");
	a = start(fixture.store, "a");
	cr_assert_eq(a, b + 1);
	cr_assert_eq(try_append(fixture.store, b, 2, "two", NULL), 0);
	cr_assert_eq(try_append(fixture.store, a, 2, "zwei", NULL), 0);
	cr_assert_eq(try_append(fixture.store, b, 3, "", NULL), 0);
	fixture_remount(&fixture);
	cr_assert_eq(journal_each_event(fixture.store, see_event, &all), 0);
	cr_assert_str_eq(all.text, "1:1=started 1:2=two 1:3= 2:1=started 2:2=zwei ");
	cr_assert_eq(journal_each_run(fixture.store, see_run, &runs), 0);
	cr_assert_str_eq(runs.text, "a=2 b=1 ");
	cr_assert_eq(journal_events(fixture.store, b, 2, see_event, &some), 0);
	cr_assert_str_eq(some.text, "1:2=two 1:3= ");
	cr_assert_eq(journal_events(fixture.store, b, 1, see_event, &one), 7);
	cr_assert_eq(one.count, 1);
	cr_assert_eq(count_events(fixture.store, 99), 0);
	fixture_close(&fixture);
}

Test(journal, an_append_that_is_not_the_next_is_stale)
{
	struct reason reason = {0};
	struct fixture fixture;
	uint64_t run;

	fixture_open(&fixture);
	run = start(fixture.store, "r");
	cr_assert_eq(try_append(fixture.store, run, 1, "again", &reason), -ESTALE);
	cr_assert_str_eq(reason.code, "run_stale");
	cr_assert_eq(try_append(fixture.store, run, 3, "hole", NULL), -ESTALE);
	cr_assert_eq(try_append(fixture.store, run, 0, "zero", NULL), -ESTALE);
	cr_assert_eq(try_append(fixture.store, run + 1, 2, "no such run", NULL), -ESTALE);
	cr_assert_eq(try_append(fixture.store, run, 2, "next", NULL), 0);
	cr_assert_eq(count_events(fixture.store, run), 2);
	fixture_close(&fixture);
}

Test(journal, an_id_is_taken_once)
{
	struct reason reason = {0};
	struct row_change change;
	struct fixture fixture;

	fixture_open(&fixture);
	start(fixture.store, "r");
	change = put_run("r", journal_next_run(fixture.store));
	cr_assert_eq(rows_commit(fixture.store, &change, 1, &reason), -EEXIST);
	cr_assert_str_eq(reason.code, "run_exists");
	cr_assert_eq(reason.error, EEXIST);
	fixture_close(&fixture);
}

Test(journal, what_no_row_can_hold_is_refused)
{
	char *large = calloc(1, EVENT_BYTES_MAX + 2), id[RUN_ID_MAX + 2];
	struct row_change change;
	struct fixture fixture;

	fixture_open(&fixture);
	memset(large, 'x', EVENT_BYTES_MAX + 1);
	memset(id, 'i', sizeof(id));
	id[RUN_ID_MAX + 1] = '\0';
	cr_assert_eq(try_append(fixture.store, 1, 1, large, NULL), -EINVAL);
	large[EVENT_BYTES_MAX] = '\0';
	cr_assert_eq(try_append(fixture.store, 1, 1, large, NULL), 0);
	change = put_run(id, 1);
	cr_assert_eq(rows_commit(fixture.store, &change, 1, NULL), -EINVAL);
	id[RUN_ID_MAX] = '\0';
	cr_assert_eq(rows_commit(fixture.store, &change, 1, NULL), 0);
	change = put_run("", 2);
	cr_assert_eq(rows_commit(fixture.store, &change, 1, NULL), -EINVAL);
	change = put_run("zero", 0);
	cr_assert_eq(rows_commit(fixture.store, &change, 1, NULL), -EINVAL);
	free(large);
	fixture_close(&fixture);
}

Test(journal, a_stale_append_takes_the_rest_of_its_commit_with_it)
{
	struct seen runs = {0};
	struct fixture fixture;
	uint64_t run;

	fixture_open(&fixture);
	run = start(fixture.store, "r");
	struct row_change changes[] = {
	    put_run("other", journal_next_run(fixture.store)),
	    append(run, 2, "next"),
	    append(run, 4, "hole"),
	};
	cr_assert_eq(rows_commit(fixture.store, changes, 3, NULL), -ESTALE);
	cr_assert_eq(count_events(fixture.store, run), 1);
	changes[2].sequence = 3;
	cr_assert_eq(rows_commit(fixture.store, changes, 3, NULL), 0);
	cr_assert_eq(count_events(fixture.store, run), 3);
	cr_assert_eq(journal_each_run(fixture.store, see_run, &runs), 0);
	cr_assert_str_eq(runs.text, "other=2 r=1 ");
	fixture_close(&fixture);
}

/* ---- several writers ---- */

#define WRITERS 8
#define WRITER_APPENDS 50

struct race {
	struct store *store;
	uint64_t run;
	unsigned int won, lost;
};

/* Appends until it has won often enough, as an optimistic writer does. */
static void *race_main(void *argument)
{
	struct race *race = argument;

	while (race->won < WRITER_APPENDS) {
		uint64_t next = count_events(race->store, race->run) + 1;
		int error = try_append(race->store, race->run, next, "e", NULL);

		must(error == 0 || error == -ESTALE);
		race->won += error == 0;
		race->lost += error != 0;
	}
	return NULL;
}

Test(journal, of_two_writers_of_one_number_one_wins, .timeout = 300)
{
	struct race races[WRITERS];
	pthread_t threads[WRITERS];
	struct fixture fixture;
	uint64_t run;

	fixture_open(&fixture);
	run = start(fixture.store, "r");
	for (unsigned int i = 0; i < WRITERS; i++) {
		races[i] = (struct race){.store = fixture.store, .run = run};
		cr_assert_eq(pthread_create(&threads[i], NULL, race_main, &races[i]), 0);
	}
	for (unsigned int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(count_events(fixture.store, run), 1 + WRITERS * WRITER_APPENDS);
	fixture_close(&fixture);
}
