/* SPDX-License-Identifier: Apache-2.0 */
/* What fsck says of runs, their events and their values: silent when all is well, else by name. */
#include "tests/store/fixture.h"

#include <pthread.h>

#include "engine/fsck.h"
#include "store/journal.h"
#include "store/record.h"
#include "store/row.h"
#include "store/value.h"

#define LARGE (VALUE_INLINE_MAX + 1)

static void append(struct store *store, const char *id, uint64_t run, uint64_t sequence,
		   uint64_t seed, size_t length)
{
	uint8_t *bytes = fixture_bytes(seed, length);
	struct row_change changes[3] = {
	    {
		.kind = ROW_APPEND_EVENT,
		.run = run,
		.sequence = sequence,
		.text = "event",
		.text_length = 5,
	    },
	};
	struct value *value;
	size_t count = 2;

	must(value_take(store, bytes, length, &value, NULL) == 0);
	must(value_put(value, run, sequence, &changes[1], NULL) == 0);
	if (sequence == 1)
		changes[count++] = (struct row_change){.kind = ROW_PUT_RUN, .name = id, .run = run};
	must(rows_commit(store, changes, count, NULL) == 0);
	value_settle(value, 1);
	free(bytes);
}

/* Two runs, each with two small values and a large one that both share. */
static void fill(struct fixture *fixture)
{
	fixture_open(fixture);
	for (uint64_t run = 1; run <= 2; run++) {
		const char *id = run == 1 ? "one" : "two";

		append(fixture->store, id, run, 1, 1, 10);
		append(fixture->store, id, run, 2, 2, LARGE);
		append(fixture->store, id, run, 3, 3, 10);
	}
	/* The same content twice in one run: each row holds it. */
	append(fixture->store, "one", 1, 4, 2, LARGE);
	fixture_drain(fixture->store);
}

struct findings {
	unsigned int count;
	char codes[512], messages[4096];
};

static void note(void *context, const struct reason *reason)
{
	struct findings *findings = context;
	size_t codes = strlen(findings->codes), messages = strlen(findings->messages);

	findings->count++;
	snprintf(findings->codes + codes, sizeof(findings->codes) - codes, "%s ", reason->code);
	snprintf(findings->messages + messages, sizeof(findings->messages) - messages, "%s\n",
		 reason->message);
}

static struct findings check(const struct fixture *fixture)
{
	struct findings findings = {0};
	struct fsck_watcher watcher = {.finding = note, .context = &findings};
	struct reason reason = {0};
	struct fsck_totals totals;

	fixture_ok(fsck_state(fixture->path, &watcher, &totals, &reason), &reason);
	must(totals.findings == findings.count);
	fprintf(stderr, "%s", findings.messages);
	return findings;
}

/* Makes one change behind the store's back, and looks. */
static struct findings after(int (*change)(MDB_txn *txn, const struct env *env),
			     const struct env_kind *kind)
{
	struct findings findings;
	struct fixture fixture;
	struct env env;
	MDB_txn *txn;

	fill(&fixture);
	fixture_unmount(&fixture);
	must(env_open(fixture.path, kind, ENV_WRITE, &env, NULL) == 0);
	must(mdb_txn_begin(env.lmdb, NULL, 0, &txn) == 0);
	must(change(txn, &env) == 0);
	must(mdb_txn_commit(txn) == 0);
	env_close(&env);
	findings = check(&fixture);
	fixture_close(&fixture);
	return findings;
}

Test(fsck, sound_runs_are_no_finding)
{
	struct fixture fixture;

	fill(&fixture);
	fixture_unmount(&fixture);
	must(check(&fixture).count == 0);
	fixture_mount(&fixture);
	must(journal_remove_run(fixture.store, "one", 1, NULL, 0, NULL) == 0);
	fixture_unmount(&fixture);
	must(check(&fixture).count == 0);
	fixture_close(&fixture);
}

/* ---- beside a mount, which is another process: one may have an environment open only once ---- */

struct busy {
	pthread_t thread;
	struct store *store;
	unsigned int number;
};

/* Brings runs that share contents with others', and removes them; one streams its values. */
static void *busy_main(void *argument)
{
	struct busy *busy = argument;
	size_t length = busy->number ? 3 * LARGE : 20000000;
	unsigned int rounds = busy->number ? 200 : 10;
	char id[32];

	for (unsigned int round = 0; round < rounds; round++) {
		uint64_t run = journal_next_run(busy->store);

		snprintf(id, sizeof(id), "%d-%u-%u", (int)getpid(), busy->number, round);
		append(busy->store, id, run, 1, round % 7, LARGE);
		append(busy->store, id, run, 2, round % 3, length);
		append(busy->store, id, run, 3, busy->number, 100);
		if (round % 4)
			must(journal_remove_run(busy->store, id, run, NULL, 0, NULL) == 0);
	}
	return NULL;
}

static void be_busy(struct fixture *fixture)
{
	struct busy busy[4];

	fixture_mount(fixture);
	for (unsigned int i = 0; i < 4; i++) {
		busy[i] = (struct busy){.store = fixture->store, .number = i};
		must(pthread_create(&busy[i].thread, NULL, busy_main, &busy[i]) == 0);
	}
	for (unsigned int i = 0; i < 4; i++)
		pthread_join(busy[i].thread, NULL);
	fixture_unmount(fixture);
}

static pid_t fork_busy(struct fixture *fixture)
{
	pid_t child = fork();

	must(child >= 0);
	if (child == 0) {
		fixture_is_child = true;
		be_busy(fixture);
		_exit(0);
	}
	return child;
}

Test(fsck, what_a_mount_does_meanwhile_is_no_finding, .timeout = 300)
{
	unsigned int looks = 0;
	struct fixture fixture;
	int status = -1;
	pid_t child;

	fixture_open(&fixture);
	fixture_unmount(&fixture);
	child = fork_busy(&fixture);
	while (waitpid(child, &status, WNOHANG) == 0) {
		must(check(&fixture).count == 0);
		looks++;
	}
	must(status == 0);
	must(looks > 1);
	must(check(&fixture).count == 0);
	fixture_close(&fixture);
}

/* Killed at any moment, the next mount leaves each content with exactly the holders that it has. */
Test(fsck, a_mount_after_a_kill_finds_everything_held_once, .timeout = 300)
{
	struct fixture fixture;
	unsigned int seed = 7;
	int status;

	fixture_open(&fixture);
	fixture_unmount(&fixture);
	for (unsigned int i = 0; i < 25; i++) {
		pid_t child = fork_busy(&fixture);

		usleep(20000 + (unsigned int)rand_r(&seed) % 60000);
		must(kill(child, SIGKILL) == 0);
		must(waitpid(child, &status, 0) == child);
		must(WIFSIGNALED(status) || status == 0);
		fixture_mount(&fixture);
		fixture_unmount(&fixture);
		must(check(&fixture).count == 0);
	}
	fixture_close(&fixture);
}

Test(fsck, an_older_state_can_be_looked_at)
{
	struct fixture fixture;
	char path[128];
	FILE *file;

	fixture_open(&fixture);
	fixture_unmount(&fixture);
	fixture_drop_tables(&fixture, rows_kind_1.table_count);
	snprintf(path, sizeof(path), "%s/format", fixture.path);
	file = fopen(path, "we");
	fputs("1\n", file);
	fclose(file);
	must(check(&fixture).count == 0);
	fixture_close(&fixture);
}

static MDB_val key_of(uint8_t bytes[16], uint64_t run, uint64_t sequence)
{
	be64_put(bytes, run);
	be64_put(bytes + 8, sequence);
	return (MDB_val){.mv_size = 16, .mv_data = bytes};
}

static int flip(MDB_txn *txn, MDB_dbi table, MDB_val *key)
{
	uint8_t copy[VALUE_INLINE_MAX];
	MDB_val value;
	int code = mdb_get(txn, table, key, &value);

	if (code)
		return code;
	must(value.mv_size <= sizeof(copy));
	memcpy(copy, value.mv_data, value.mv_size);
	copy[value.mv_size / 2] ^= 1;
	value.mv_data = copy;
	return mdb_put(txn, table, key, &value, 0);
}

static int flip_event(MDB_txn *txn, const struct env *rows)
{
	uint8_t bytes[16];
	MDB_val key = key_of(bytes, 1, 2);

	return flip(txn, rows->tables[ROWS_EVENTS], &key);
}

static int flip_value(MDB_txn *txn, const struct env *rows)
{
	uint8_t bytes[16];
	MDB_val key = key_of(bytes, 1, 2);

	return flip(txn, rows->tables[ROWS_VALUES], &key);
}

static int flip_run(MDB_txn *txn, const struct env *rows)
{
	MDB_val key = {.mv_size = 3, .mv_data = (void *)"one"};

	return flip(txn, rows->tables[ROWS_RUNS], &key);
}

static int lose_run(MDB_txn *txn, const struct env *rows)
{
	MDB_val key = {.mv_size = 3, .mv_data = (void *)"one"};

	return mdb_del(txn, rows->tables[ROWS_RUNS], &key, NULL);
}

static int lose_event(MDB_txn *txn, const struct env *rows)
{
	uint8_t bytes[16];
	MDB_val key = key_of(bytes, 1, 2);

	return mdb_del(txn, rows->tables[ROWS_EVENTS], &key, NULL);
}

static int lose_last_event(MDB_txn *txn, const struct env *rows)
{
	uint8_t bytes[16];
	MDB_val key = key_of(bytes, 2, 3);

	return mdb_del(txn, rows->tables[ROWS_EVENTS], &key, NULL);
}

static int lose_value(MDB_txn *txn, const struct env *rows)
{
	uint8_t bytes[16];
	MDB_val key = key_of(bytes, 1, 2);

	return mdb_del(txn, rows->tables[ROWS_VALUES], &key, NULL);
}

static struct digest large_digest(void)
{
	uint8_t *bytes = fixture_bytes(2, LARGE);
	struct digest digest;

	must(digest_of(bytes, LARGE, &digest) == 0);
	free(bytes);
	return digest;
}

static int lose_content(MDB_txn *txn, const struct env *contents)
{
	struct digest digest = large_digest();

	return record_delete(txn, contents, &digest);
}

static int take_reference(MDB_txn *txn, const struct env *contents)
{
	struct digest digest = large_digest();
	struct record record;

	must(record_get(txn, contents, &digest, &record) == 0);
	must(record.references == 3);
	record.references--;
	return record_put(txn, contents, &digest, &record);
}

static int damage_content(MDB_txn *txn, const struct env *contents)
{
	struct digest digest = large_digest();
	uint8_t bytes[8], *copy = malloc(PIECE_BYTES);
	MDB_val key = {.mv_size = 8, .mv_data = bytes}, value;
	struct record record;
	int code;

	must(copy != NULL);
	must(record_get(txn, contents, &digest, &record) == 0);
	be64_put(bytes, record.piece);
	must(mdb_get(txn, contents->tables[CONTENTS_PIECES], &key, &value) == 0);
	must(value.mv_size <= PIECE_BYTES);
	memcpy(copy, value.mv_data, value.mv_size);
	copy[record.offset] ^= 1;
	value.mv_data = copy;
	code = mdb_put(txn, contents->tables[CONTENTS_PIECES], &key, &value, 0);
	free(copy);
	return code;
}

#define FOUND(test, change, kind, wanted, word)                                                    \
	Test(fsck, test)                                                                           \
	{                                                                                          \
		struct findings findings = after(change, &kind);                                   \
                                                                                                   \
		cr_assert_str_eq(findings.codes, wanted);                                          \
		cr_assert_not_null(strstr(findings.messages, word));                               \
	}

FOUND(an_unreadable_event, flip_event, rows_kind, "row_damaged ", "run one: event 2 ")
FOUND(an_unreadable_value, flip_value, rows_kind, "row_damaged ", "run one: event 2 ")
FOUND(an_unreadable_run, flip_run, rows_kind, "row_damaged run_missing ", "run one: ")
FOUND(a_run_without_its_row, lose_run, rows_kind, "run_missing ", "run number 1 ")
FOUND(a_hole_in_a_history, lose_event, rows_kind, "event_missing event_missing ",
      "run one: event 2 is missing, and later ones")
FOUND(a_value_without_its_event, lose_last_event, rows_kind, "event_missing ", "run two: event 3 ")
FOUND(a_reference_too_many, lose_value, rows_kind, "references_wrong ", "3 references, 2 ")
FOUND(a_reference_too_few, take_reference, contents_kind, "references_wrong ", "2 references, 3 ")
FOUND(a_value_whose_content_is_damaged, damage_content, contents_kind,
      "content_damaged content_damaged content_damaged ", "run one, event 2: ")
FOUND(values_whose_content_is_missing, lose_content, contents_kind,
      "content_missing content_missing content_missing piece_damaged ", "run two, event 2: ")
