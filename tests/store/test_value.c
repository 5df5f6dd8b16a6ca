/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values: beside their event or in the contents, how often a content is held, and what the next
 * mount makes of every point at which bringing one in, or removing its run, can be cut off.
 */
#include "tests/store/fixture.h"

#include "store/journal.h"
#include "store/private.h"
#include "store/release.h"
#include "store/tables.h"
#include "store/value.h"

#define LARGE (VALUE_INLINE_MAX + 1)

static struct value *take(struct store *store, uint64_t seed, size_t length)
{
	uint8_t *bytes = fixture_bytes(seed, length);
	struct value *value = NULL;
	struct reason reason = {0};

	fixture_ok(value_take(store, bytes, length, &value, &reason), &reason);
	must(value_size(value) == length);
	free(bytes);
	return value;
}

/* The event and its value, in one commit. */
static int commit(struct store *store, uint64_t run, uint64_t sequence, struct value *value)
{
	struct row_change changes[2] = {
	    {
		.kind = ROW_APPEND_EVENT,
		.run = run,
		.sequence = sequence,
		.text = "event",
		.text_length = 5,
	    },
	};
	struct reason reason = {0};

	fixture_ok(value_put(value, run, sequence, &changes[1], &reason), &reason);
	return rows_commit(store, changes, 2, NULL);
}

static struct digest bring(struct store *store, uint64_t run, uint64_t sequence, uint64_t seed,
			   size_t length)
{
	struct value *value = take(store, seed, length);
	struct digest digest = *value_digest(value);

	must(commit(store, run, sequence, value) == 0);
	value_settle(value, 1);
	return digest;
}

static uint64_t start(struct store *store, const char *id)
{
	struct row_change put = {
	    .kind = ROW_PUT_RUN,
	    .name = id,
	    .run = journal_next_run(store),
	};

	fixture_commit(store, &put);
	return put.run;
}

static void must_read(struct store *store, uint64_t run, uint64_t sequence, uint64_t seed,
		      size_t length)
{
	uint8_t *wanted = fixture_bytes(seed, length);
	struct value_row row = {0};
	size_t loaded = length;
	char *bytes = NULL;

	must(journal_value(store, run, sequence, &row, &bytes) == 0);
	must(row.size == length && row.run == run && row.sequence == sequence);
	must((row.upload != 0) == (length > VALUE_INLINE_MAX));
	must((bytes == NULL) == (row.upload != 0));
	if (!bytes)
		must(contents_load(store, &row.digest, length, &bytes, &loaded, NULL) == 0);
	must(loaded == length && memcmp(bytes, wanted, length) == 0 && bytes[length] == '\0');
	free(bytes);
	free(wanted);
}

static uint64_t count_contents(struct store *store)
{
	uint64_t count = 0;

	must(contents_count(store, &count) == 0);
	return count;
}

Test(value, every_size_is_read_back_after_a_remount, .timeout = 300)
{
	static const size_t sizes[] = {0, 1, VALUE_INLINE_MAX, LARGE, 70000, 3000000, 64u << 20};
	const unsigned int count = sizeof(sizes) / sizeof(*sizes);
	struct fixture fixture;
	uint64_t run;

	fixture_open(&fixture);
	run = start(fixture.store, "r");
	for (unsigned int i = 0; i < count; i++)
		bring(fixture.store, run, i + 1, i, sizes[i]);
	for (unsigned int i = 0; i < count; i++)
		must_read(fixture.store, run, i + 1, i, sizes[i]);
	must(count_contents(fixture.store) == 4);
	fixture_remount(&fixture);
	for (unsigned int i = 0; i < count; i++)
		must_read(fixture.store, run, i + 1, i, sizes[i]);
	must(count_contents(fixture.store) == 4);
	must(fixture_findings(fixture.store) == 0);
	must(journal_value(fixture.store, run, count + 1, &(struct value_row){0}, NULL) == -ENOENT);
	fixture_close(&fixture);
}

Test(value, a_file_is_read_from_its_start_and_must_be_long_enough)
{
	static const size_t sizes[] = {0, 100, VALUE_INLINE_MAX, LARGE, 1000000};
	struct value *value = NULL;
	struct fixture fixture;
	uint64_t run;

	fixture_open(&fixture);
	run = start(fixture.store, "r");
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		uint8_t *bytes = fixture_bytes(i, sizes[i]);
		struct reason reason = {0};
		int fd = -1;

		must(store_spool(fixture.store, &fd) == 0);
		must(write(fd, bytes, sizes[i]) == (ssize_t)sizes[i]);
		must(value_read(fixture.store, fd, sizes[i] + 1, &value, &reason) == -EIO);
		must(value_read(fixture.store, fd, sizes[i], &value, &reason) == 0);
		must(commit(fixture.store, run, i + 1, value) == 0);
		value_settle(value, 1);
		must_read(fixture.store, run, i + 1, i, sizes[i]);
		close(fd);
		free(bytes);
	}
	must(count_contents(fixture.store) == 2);
	fixture_close(&fixture);
}

Test(value, each_row_holds_one_reference_of_what_it_shares)
{
	struct fixture fixture;
	struct digest digest;
	uint64_t a, b;

	fixture_open(&fixture);
	a = start(fixture.store, "a");
	b = start(fixture.store, "b");
	digest = bring(fixture.store, a, 1, 7, LARGE);
	bring(fixture.store, a, 2, 7, LARGE);
	bring(fixture.store, b, 1, 7, LARGE);
	must(count_contents(fixture.store) == 1);
	must(fixture_references(fixture.store, &digest) == 3);
	fixture_remount(&fixture);
	must(fixture_references(fixture.store, &digest) == 3);
	must_read(fixture.store, a, 2, 7, LARGE);
	fixture_close(&fixture);
}

Test(value, what_was_not_committed_is_given_back)
{
	struct fixture fixture;
	struct value *value;

	fixture_open(&fixture);
	value_settle(NULL, 0);
	value_settle(take(fixture.store, 1, 10), 0);
	value_settle(take(fixture.store, 1, LARGE), 0);
	value = take(fixture.store, 2, LARGE);
	must(commit(fixture.store, 1, 5, value) == -ESTALE);
	must(count_contents(fixture.store) == 1);
	value_settle(value, 0);
	must(count_contents(fixture.store) == 0);
	must(fixture_findings(fixture.store) == 0);
	fixture_close(&fixture);
}

Test(value, one_that_was_refused_is_put_again_with_another_number)
{
	struct fixture fixture;
	struct digest digest;
	struct value *value;
	uint64_t run;

	fixture_open(&fixture);
	run = start(fixture.store, "r");
	bring(fixture.store, run, 1, 1, 10);
	value = take(fixture.store, 2, 12000000);
	digest = *value_digest(value);
	must(commit(fixture.store, run, 1, value) == -ESTALE);
	must(commit(fixture.store, run, 3, value) == -ESTALE);
	must(commit(fixture.store, run, 2, value) == 0);
	value_settle(value, 1);
	must(fixture_references(fixture.store, &digest) == 1);
	fixture_remount(&fixture);
	must_read(fixture.store, run, 2, 2, 12000000);
	must(fixture_references(fixture.store, &digest) == 1);
	must(fixture_findings(fixture.store) == 0);
	fixture_close(&fixture);
}

Test(value, an_event_has_one_value)
{
	struct row_change change;
	struct fixture fixture;
	struct value *value;

	fixture_open(&fixture);
	bring(fixture.store, 1, 1, 1, 10);
	value = take(fixture.store, 2, 10);
	must(value_put(value, 1, 1, &change, NULL) == 0);
	must(rows_commit(fixture.store, &change, 1, NULL) == -ESTALE);
	value_settle(value, 0);
	must_read(fixture.store, 1, 1, 1, 10);
	fixture_close(&fixture);
}

/* ---- removing ---- */

static int must_not_come(void *context, const struct event_bytes *event)
{
	(void)context;
	(void)event;
	return -EEXIST;
}

static int count_run(void *context, const char *id, uint64_t number, const struct reason *why)
{
	(void)id;
	(void)number;
	(void)why;
	++*(unsigned int *)context;
	return 0;
}

static unsigned int count_runs(struct store *store)
{
	unsigned int count = 0;

	must(journal_each_run(store, count_run, &count) == 0);
	return count;
}

static void must_be_gone(struct store *store, uint64_t run)
{
	struct value_row row;

	must(journal_events(store, run, 0, must_not_come, NULL) == 0);
	must(journal_value(store, run, 1, &row, NULL) == -ENOENT);
}

Test(remove, takes_the_rows_and_gives_the_contents_back)
{
	struct digest shared, mine;
	struct reason reason = {0};
	uint64_t a, b, size = 0;
	struct fixture fixture;

	fixture_open(&fixture);
	a = start(fixture.store, "a");
	b = start(fixture.store, "b");
	shared = bring(fixture.store, a, 1, 1, LARGE);
	bring(fixture.store, a, 2, 1, LARGE);
	bring(fixture.store, a, 3, 2, 10);
	mine = bring(fixture.store, a, 4, 3, 5000000);
	bring(fixture.store, b, 1, 1, LARGE);
	fixture_ok(journal_remove_run(fixture.store, "a", a, "{}\n", 3, &reason), &reason);
	must_be_gone(fixture.store, a);
	must(count_runs(fixture.store) == 1);
	must(fixture_references(fixture.store, &shared) == 1);
	must(fixture_references(fixture.store, &mine) == 0);
	must_read(fixture.store, b, 1, 1, LARGE);
	must(rows_audit_size(fixture.store, &size) == 0 && size == 3);
	must(fixture_findings(fixture.store) == 0);
	must(journal_remove_run(fixture.store, "a", a, "{}\n", 3, &reason) == -ENOENT);
	must(journal_remove_run(fixture.store, "b", a, NULL, 0, &reason) == -ENOENT);
	must(journal_remove_run(fixture.store, "b", b, NULL, 0, &reason) == 0);
	must(count_contents(fixture.store) == 0);
	must(rows_audit_size(fixture.store, &size) == 0 && size == 3);
	fixture_remount(&fixture);
	must(journal_next_run(fixture.store) == b + 1);
	must(fixture_findings(fixture.store) == 0);
	fixture_close(&fixture);
}

Test(remove, an_event_that_came_in_between_keeps_the_run)
{
	struct fixture fixture;
	uint64_t run;

	fixture_open(&fixture);
	run = start(fixture.store, "r");
	bring(fixture.store, run, 1, 1, LARGE);
	bring(fixture.store, run, 2, 2, LARGE);
	struct row_change gone = {.kind = ROW_DELETE_RUN, .name = "r", .run = run, .sequence = 1};
	must(rows_commit(fixture.store, &gone, 1, NULL) == -ESTALE);
	must(count_runs(fixture.store) == 1);
	must_read(fixture.store, run, 2, 2, LARGE);
	fixture_close(&fixture);
}

#define MANY 100000u

Test(remove, a_run_of_many_events, .timeout = 300)
{
	struct row_change *changes = calloc(1000, sizeof(*changes));
	struct fixture fixture;
	uint64_t a, b;

	fixture_open(&fixture);
	a = start(fixture.store, "a");
	b = start(fixture.store, "b");
	bring(fixture.store, b, 1, 1, 10);
	for (unsigned int at = 0; at < MANY; at += 1000) {
		for (unsigned int i = 0; i < 1000; i++)
			changes[i] = (struct row_change){
			    .kind = ROW_APPEND_EVENT,
			    .run = a,
			    .sequence = at + i + 1,
			    .text = "an event of some length, as they are: {\"step\":\"charge\"}",
			    .text_length = 55,
			};
		must(rows_commit(fixture.store, changes, 1000, NULL) == 0);
	}
	must(journal_remove_run(fixture.store, "a", a, NULL, 0, NULL) == 0);
	must_be_gone(fixture.store, a);
	must_read(fixture.store, b, 1, 1, 10);
	free(changes);
	fixture_close(&fixture);
}

/* ---- crashes: each child stops at one step, and the parent mounts ---- */

static struct digest seed_digest(uint64_t seed, size_t length)
{
	uint8_t *bytes = fixture_bytes(seed, length);
	struct digest digest;

	must(digest_of(bytes, length, &digest) == 0);
	free(bytes);
	return digest;
}

static void crash_in(struct fixture *fixture, void (*child_main)(struct fixture *fixture))
{
	int status;

	fixture_make(fixture);
	status = fixture_in_child(child_main, fixture);
	must(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	fixture_mount(fixture);
	must(fixture_findings(fixture->store) == 0);
}

static void crash_taken(struct fixture *fixture)
{
	fixture_mount(fixture);
	take(fixture->store, 1, 20000000);
	fixture_crash();
}

Test(crash, a_value_that_was_taken_only_is_collected)
{
	struct fixture fixture;

	crash_in(&fixture, crash_taken);
	must(count_contents(fixture.store) == 0);
	fixture_close(&fixture);
}

static void crash_sealed(struct fixture *fixture)
{
	struct row_change change;

	fixture_mount(fixture);
	bring(fixture->store, 1, 1, 1, LARGE);
	must(value_put(take(fixture->store, 1, LARGE), 1, 2, &change, NULL) == 0);
	must(value_put(take(fixture->store, 2, LARGE), 1, 2, &change, NULL) == 0);
	fixture_crash();
}

Test(crash, a_value_whose_commit_never_came_is_collected)
{
	struct digest digest = seed_digest(1, LARGE);
	struct fixture fixture;

	crash_in(&fixture, crash_sealed);
	must(count_contents(fixture.store) == 1);
	must(fixture_references(fixture.store, &digest) == 1);
	must_read(fixture.store, 1, 1, 1, LARGE);
	fixture_close(&fixture);
}

static void crash_committed(struct fixture *fixture)
{
	fixture_mount(fixture);
	must(commit(fixture->store, 1, 1, take(fixture->store, 1, LARGE)) == 0);
	fixture_crash();
}

Test(crash, a_committed_value_keeps_its_content)
{
	struct digest digest = seed_digest(1, LARGE);
	struct fixture fixture;

	crash_in(&fixture, crash_committed);
	must(fixture_references(fixture.store, &digest) == 1);
	must_read(fixture.store, 1, 1, 1, LARGE);
	fixture_close(&fixture);
}

/* Refused once, sealed anew, committed: the header that counts is the last one. */
static void crash_committed_again(struct fixture *fixture)
{
	struct value *value;

	fixture_mount(fixture);
	bring(fixture->store, 1, 1, 2, 10);
	value = take(fixture->store, 1, LARGE);
	must(commit(fixture->store, 1, 1, value) == -ESTALE);
	must(commit(fixture->store, 1, 2, value) == 0);
	fixture_crash();
}

Test(crash, a_value_that_was_put_again_keeps_its_content)
{
	struct digest digest = seed_digest(1, LARGE);
	struct fixture fixture;

	crash_in(&fixture, crash_committed_again);
	must(fixture_references(fixture.store, &digest) == 1);
	must_read(fixture.store, 1, 2, 1, LARGE);
	fixture_close(&fixture);
}

/* Another one's row is there under the number that this one was sealed for. */
static void crash_lost_the_race(struct fixture *fixture)
{
	struct value *value;

	fixture_mount(fixture);
	value = take(fixture->store, 1, LARGE);
	bring(fixture->store, 1, 1, 1, LARGE);
	must(commit(fixture->store, 1, 1, value) == -ESTALE);
	fixture_crash();
}

Test(crash, a_value_that_lost_the_race_is_given_back)
{
	struct digest digest = seed_digest(1, LARGE);
	struct fixture fixture;

	crash_in(&fixture, crash_lost_the_race);
	must(fixture_references(fixture.store, &digest) == 1);
	must_read(fixture.store, 1, 1, 1, LARGE);
	fixture_close(&fixture);
}

/* ---- crashes of a removal ---- */

static uint64_t start_and_hold(struct fixture *fixture)
{
	struct pending hold = {.kind = PENDING_VALUE_RELEASE, .sealed = true};
	struct digest digests[2];
	struct value_row row;

	fixture_mount(fixture);
	hold.run = start(fixture->store, "r");
	bring(fixture->store, 77, 1, 1, LARGE);
	digests[0] = bring(fixture->store, hold.run, 1, 1, LARGE);
	digests[1] = bring(fixture->store, hold.run, 2, 2, LARGE);
	must(journal_value(fixture->store, hold.run, 1, &row, NULL) == 0);
	hold.upload = row.upload;
	must(release_hold(fixture->store, &hold, digests, 2) == 0);
	return hold.run;
}

static void crash_held(struct fixture *fixture)
{
	start_and_hold(fixture);
	fixture_crash();
}

Test(crash, a_hold_whose_run_stayed_is_dropped)
{
	struct digest shared = seed_digest(1, LARGE), mine = seed_digest(2, LARGE);
	struct fixture fixture;

	crash_in(&fixture, crash_held);
	must(fixture_references(fixture.store, &shared) == 2);
	must(fixture_references(fixture.store, &mine) == 1);
	must_read(fixture.store, 1, 2, 2, LARGE);
	fixture_close(&fixture);
}

static void crash_deleted(struct fixture *fixture)
{
	uint64_t run = start_and_hold(fixture);
	struct row_change gone = {.kind = ROW_DELETE_RUN, .name = "r", .run = run, .sequence = 2};

	fixture_commit(fixture->store, &gone);
	fixture_crash();
}

Test(crash, a_hold_whose_run_is_gone_is_given_back)
{
	struct digest shared = seed_digest(1, LARGE), mine = seed_digest(2, LARGE);
	struct fixture fixture;

	crash_in(&fixture, crash_deleted);
	must(fixture_references(fixture.store, &shared) == 1);
	must(fixture_references(fixture.store, &mine) == 0);
	must_be_gone(fixture.store, 1);
	must_read(fixture.store, 77, 1, 1, LARGE);
	fixture_close(&fixture);
}

/* The parts streamed in vain, the adoption still under way, and the run goes at once. */
static void crash_right_after(struct fixture *fixture)
{
	uint64_t run;

	fixture_mount(fixture);
	bring(fixture->store, 77, 1, 1, 20000000);
	for (unsigned int i = 0; i < 3; i++) {
		run = start(fixture->store, "r");
		bring(fixture->store, run, 1, 1, 20000000);
		must(journal_remove_run(fixture->store, "r", run, NULL, 0, NULL) == 0);
	}
	fixture_crash();
}

Test(crash, a_run_that_went_at_once_gives_back_what_it_had_once, .timeout = 300)
{
	struct digest digest = seed_digest(1, 20000000);
	struct fixture fixture;

	crash_in(&fixture, crash_right_after);
	must(fixture_references(fixture.store, &digest) == 1);
	must_read(fixture.store, 77, 1, 1, 20000000);
	fixture_close(&fixture);
}

/* ---- unreadable rows: leak rather than lose ---- */

static void crash_with_broken(struct fixture *fixture, void (*child_main)(struct fixture *fixture),
			      const struct env_kind *kind, unsigned int table)
{
	fixture_make(fixture);
	must(WIFSIGNALED(fixture_in_child(child_main, fixture)));
	fixture_spoil(fixture, kind, table, fixture_flip);
	fixture_mount(fixture);
	must(fixture_findings(fixture->store) == 0);
}

Test(crash, an_unreadable_value_row_keeps_its_content)
{
	struct digest digest = seed_digest(1, LARGE);
	struct value_row row;
	struct fixture fixture;

	crash_with_broken(&fixture, crash_committed, &rows_kind, ROWS_VALUES);
	must(fixture_references(fixture.store, &digest) == 1);
	must(journal_value(fixture.store, 1, 1, &row, NULL) == -EIO);
	fixture_close(&fixture);
}

Test(crash, a_held_run_of_unreadable_values_keeps_its_contents)
{
	struct digest shared = seed_digest(1, LARGE), mine = seed_digest(2, LARGE);
	struct fixture fixture;

	crash_with_broken(&fixture, crash_held, &rows_kind, ROWS_VALUES);
	must(fixture_references(fixture.store, &shared) == 2);
	must(fixture_references(fixture.store, &mine) == 1);
	fixture_close(&fixture);
}

Test(crash, an_unreadable_pending_row_gives_nothing_back)
{
	struct digest digest = seed_digest(1, LARGE);
	struct fixture fixture;

	crash_with_broken(&fixture, crash_committed, &contents_kind, CONTENTS_PENDING);
	must(fixture_references(fixture.store, &digest) == 1);
	fixture_close(&fixture);
}

static int see_value(void *context, uint64_t run, uint64_t sequence, const struct value_row *row)
{
	unsigned int *counts = context;

	must(run == 1 && sequence > 0);
	counts[row != NULL]++;
	return 0;
}

Test(value, damaged_rows_are_named_and_their_run_can_be_removed)
{
	unsigned int counts[2] = {0};
	struct fixture fixture;
	struct value_row row;

	fixture_open(&fixture);
	start(fixture.store, "r");
	bring(fixture.store, 1, 1, 1, 100);
	bring(fixture.store, 1, 2, 2, LARGE);
	fixture_unmount(&fixture);
	fixture_spoil(&fixture, &rows_kind, ROWS_VALUES, fixture_flip);
	fixture_mount(&fixture);
	must(journal_each_value(fixture.store, see_value, counts) == 0);
	must(counts[0] == 2 && counts[1] == 0);
	must(journal_value(fixture.store, 1, 1, &row, NULL) == -EIO);
	must(journal_remove_run(fixture.store, "r", 1, NULL, 0, NULL) == 0);
	must(count_contents(fixture.store) == 1);
	fixture_close(&fixture);
}
