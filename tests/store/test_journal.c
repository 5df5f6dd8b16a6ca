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

/* ---- numbers ---- */

static void put_and_crash(struct fixture *fixture)
{
	fixture_mount(fixture);
	start(fixture->store, "a");
	for (int i = 0; i < 5; i++)
		journal_next_run(fixture->store);
	start(fixture->store, "b");
	fixture_crash();
}

Test(journal, a_number_that_was_stored_never_comes_again)
{
	struct fixture fixture;
	uint64_t number;

	fixture_make(&fixture);
	cr_assert(WIFSIGNALED(fixture_in_child(put_and_crash, &fixture)));
	fixture_mount(&fixture);
	number = journal_next_run(fixture.store);
	cr_assert_eq(number, 8);
	cr_assert_eq(journal_remove_run(fixture.store, "b", 7, NULL, 0, NULL), 0);
	cr_assert_eq(start(fixture.store, "c"), 9);
	fixture_remount(&fixture);
	cr_assert_eq(journal_next_run(fixture.store), 10);
	fixture_close(&fixture);
}

Test(journal, a_lost_counter_is_found_again)
{
	struct fixture fixture;

	fixture_open(&fixture);
	for (int i = 0; i < 7; i++)
		journal_next_run(fixture.store);
	struct row_change change = put_run("r", journal_next_run(fixture.store));
	fixture_commit(fixture.store, &change);
	cr_assert_eq(try_append(fixture.store, 5, 1, "e", NULL), 0);
	fixture_unmount(&fixture);
	fixture_spoil(&fixture, &rows_kind, ROWS_META, fixture_flip);
	fixture_mount(&fixture);
	cr_assert_eq(journal_next_run(fixture.store), 9);
	change = put_run("s", 9);
	fixture_commit(fixture.store, &change);
	fixture_remount(&fixture);
	cr_assert_eq(journal_next_run(fixture.store), 10);
	fixture_close(&fixture);
}

/* ---- damage ---- */

Test(journal, damaged_rows_are_named_and_kept)
{
	struct seen events = {0}, runs = {0};
	struct reason reason = {0};
	struct row_change change;
	struct fixture fixture;
	uint64_t run;

	fixture_open(&fixture);
	run = start(fixture.store, "r");
	fixture_unmount(&fixture);
	fixture_spoil(&fixture, &rows_kind, ROWS_EVENTS, fixture_flip);
	fixture_spoil(&fixture, &rows_kind, ROWS_RUNS, fixture_flip);
	fixture_mount(&fixture);
	cr_assert_eq(journal_each_event(fixture.store, see_event, &events), 0);
	cr_assert_str_eq(events.text, "1:1=? ");
	cr_assert_eq(journal_each_run(fixture.store, see_run, &runs), 0);
	cr_assert_str_eq(runs.text, "r=0row_damaged ");
	change = put_run("r", journal_next_run(fixture.store));
	cr_assert_eq(rows_commit(fixture.store, &change, 1, &reason), -EEXIST);
	cr_assert_eq(try_append(fixture.store, run, 1, "over it", NULL), -ESTALE);
	cr_assert_eq(try_append(fixture.store, run, 2, "next", NULL), 0);
	cr_assert_eq(journal_remove_run(fixture.store, "r", 0, NULL, 0, &reason), 0);
	cr_assert_eq(rows_commit(fixture.store, &change, 1, &reason), 0);
	fixture_close(&fixture);
}

static int put_foreign(MDB_txn *txn, struct writer_job *job)
{
	MDB_val key = {.mv_size = 3, .mv_data = (void *)"a\0b"};
	MDB_val value = {.mv_size = 3, .mv_data = (void *)"bad"};
	MDB_dbi events;

	(void)job;
	must(mdb_dbi_open(txn, "events", 0, &events) == 0);
	must(mdb_put(txn, events, &key, &value, 0) == 0);
	must(mdb_dbi_open(txn, "runs", 0, &events) == 0);
	return mdb_put(txn, events, &key, &value, 0);
}

Test(journal, keys_that_are_none_are_named)
{
	struct writer_job job = {.apply = put_foreign, .reserved = true};
	struct seen events = {0}, runs = {0};
	struct fixture fixture;
	uint64_t run;

	fixture_open(&fixture);
	run = start(fixture.store, "r");
	cr_assert_eq(writer_run(&fixture.store->rows_writer, &job), 0);
	cr_assert_eq(journal_each_event(fixture.store, see_event, &events), 0);
	cr_assert_str_eq(events.text, "1:1=started 0:0=? ");
	cr_assert_eq(journal_each_run(fixture.store, see_run, &runs), 0);
	cr_assert_str_eq(runs.text, "=0row_damaged r=1 ");
	cr_assert_eq(count_events(fixture.store, run), 1);
	cr_assert_eq(try_append(fixture.store, run, 2, "next", NULL), 0);
	fixture_remount(&fixture);
	fixture_close(&fixture);
}

/* ---- many ---- */

#define RUNS 100000u
#define RUN_EVENTS 10u
#define GROUP 1000u

static int count_any(void *context, const struct event_bytes *event)
{
	must(event->bytes && event->length > 0);
	++*(uint64_t *)context;
	return 0;
}

static void put_many(struct store *store)
{
	static char ids[GROUP][16];
	struct row_change *changes = calloc(GROUP * (RUN_EVENTS + 1), sizeof(*changes));

	must(changes != NULL);
	for (unsigned int at = 0; at < RUNS; at += GROUP) {
		size_t count = 0;

		for (unsigned int i = 0; i < GROUP; i++) {
			uint64_t run = journal_next_run(store);

			snprintf(ids[i], sizeof(ids[i]), "run-%07u", at + i);
			changes[count++] = put_run(ids[i], run);
			for (unsigned int e = 1; e <= RUN_EVENTS; e++)
				changes[count++] =
				    append(run, e, "an event as they are: 0123456789");
		}
		must(rows_commit(store, changes, count, NULL) == 0);
	}
	free(changes);
}

/* A mount reads all of this: nothing in it may cost an allocation or a look-up for each row. */
Test(journal, a_hundred_thousand_runs_are_read_quickly, .timeout = 600)
{
	struct timespec begin, end;
	struct fixture fixture;
	uint64_t count = 0;

	fixture_open(&fixture);
	put_many(fixture.store);
	fixture_remount(&fixture);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	cr_assert_eq(journal_each_event(fixture.store, count_any, &count), 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	cr_assert_eq(count, RUNS * RUN_EVENTS);
	fprintf(stderr, "%llu events read in %ld ms\n", (unsigned long long)count,
		(end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000);
	cr_assert_leq(end.tv_sec - begin.tv_sec, 30);
	fixture_close(&fixture);
}
