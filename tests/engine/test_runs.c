/* SPDX-License-Identifier: Apache-2.0 */
/* Runs from their start to their end: what is refused, attempts, retries, results, removal. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "store/private.h"
#include "store/row.h"
#include "store/tables.h"
#include "tests/engine/running.h"

#define RUNS(name) Test(runs, name, .timeout = 120)

RUNS(completes_with_its_output)
{
	struct world world;
	struct run_view view;

	world_open(&world);
	world_deploy(&world, "order", "", "#!/bin/sh\ncat\necho told >&2\n");
	world_start(&world, "order", "1", "hello");
	world_await(&world, "1", RUN_COMPLETED);
	expect_value(&world, "1", RUN_VALUE_INPUT, NULL, "hello");
	expect_value(&world, "1", RUN_VALUE_RESULT, NULL, "hello");
	expect_history(&world, "1", "\n", 4);
	cr_assert_eq(runs_view(world.engine, "1", &view), 0);
	cr_assert_eq(view.attempt, 1);
	cr_assert_not(view.has_error);
	cr_assert_eq(wait_look(world.engine, "1", WAIT_RESULT, NULL), 0);
	world_expect_clean(&world);
	expect_history(&world, "1", "\n", 4);
	expect_value(&world, "1", RUN_VALUE_RESULT, NULL, "hello");
	world_close(&world);
}

static void expect_refusal(struct world *world, const struct caller *caller, const char *type,
			   const struct digest *version, const char *id, const char *input,
			   int error, const char *code)
{
	struct reason reason = {0};

	cr_assert_eq(world_try_start(world, caller, type, version, id, input, &reason), -error,
		     "%s: %s", reason.code, reason.message);
	cr_assert_str_eq(reason.code, code, "%s", reason.message);
	cr_assert_gt(strlen(reason.message), 10);
}

RUNS(a_start_is_refused_with_its_reason)
{
	struct digest absent = {{1}}, version, other;
	struct caller stranger = {.uid = 4711, .gid = 4711, .pid = getpid()};
	struct reason reason = {0};
	struct caller *root;
	struct world world;
	char id[RUN_ID_MAX + 2];
	int fd;

	world_open(&world);
	root = &world.fixture.caller;
	version = world_deploy(&world, "order", "", script_waits);
	other = world_put(&world, BOX_STAGE, "order", ",\"label\":\"2\"", script_waits);
	world_deploy(&world, "plain", "", NULL);
	world_put(&world, BOX_STAGE, "staged", "", script_waits);
	world_deploy(&world, "elsewhere", "", script_waits);
	world_start(&world, "order", "taken", "input");

	expect_refusal(&world, root, "none", NULL, "1", "", ENOENT, "route_missing");
	expect_refusal(&world, root, "staged", NULL, "1", "", ENOENT, "route_missing");
	expect_refusal(&world, root, "order", &absent, "1", "", ENOENT, "version_absent");
	expect_refusal(&world, root, "plain", NULL, "1", "", ENOEXEC, "executable_missing");
	expect_refusal(&world, root, "order", NULL, "", "", EINVAL, "name_invalid");
	expect_refusal(&world, root, "order", NULL, ".a", "", EINVAL, "name_invalid");
	expect_refusal(&world, root, "order", NULL, "a/b", "", EINVAL, "name_invalid");
	memset(id, 'x', RUN_ID_MAX + 1);
	id[RUN_ID_MAX + 1] = '\0';
	expect_refusal(&world, root, "order", NULL, id, "", EINVAL, "name_invalid");
	expect_refusal(&world, &stranger, "order", NULL, "1", "", EACCES, "not_permitted");
	expect_refusal(&world, root, "order", NULL, "taken", "another", EEXIST, "run_exists");
	expect_refusal(&world, root, "elsewhere", NULL, "taken", "input", EEXIST, "run_exists");
	expect_refusal(&world, root, "order", &other, "taken", "input", EEXIST, "run_exists");
	cr_assert_eq(start_check(world.engine, root, "none", NULL, "1", &reason), -ENOENT);
	cr_assert_eq(start_check(world.engine, root, "order", &other, "taken", &reason), -EEXIST);
	cr_assert_eq(start_check(world.engine, root, "order", NULL, "1", &reason), 0);
	cr_assert_eq(start_check(world.engine, root, "order", &version, "taken", &reason), 0);

	fd = memfd_create("large", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(fd, INPUT_BYTES_MAX + 1l), 0);
	cr_assert_eq(
	    start_run(world.engine, root, "order", NULL, "1", fd, INPUT_BYTES_MAX + 1l, &reason),
	    -EFBIG);
	cr_assert_str_eq(reason.code, "input_too_large");
	/* Cut behind our back. */
	cr_assert_eq(ftruncate(fd, 10), 0);
	cr_assert_eq(start_run(world.engine, root, "order", NULL, "1", fd, 11, &reason), -EIO);
	close(fd);
	cr_assert_eq(world_status(&world, "1"), RUN_STATUSES);
	world_close(&world);
}

RUNS(an_id_is_its_users_alone)
{
	struct caller stranger = {.uid = 4711, .gid = 4711, .pid = getpid()};
	struct reason reason = {0};
	struct world world;

	world_open(&world);
	if (geteuid() != 0)
		cr_skip_test("runs of other users need root");
	world.fixture.options.has_start_group = true;
	world.fixture.options.start_group = 4711;
	world_remount(&world);
	world_deploy(&world, "order", "", "#!/bin/sh\nid -u\n");
	cr_assert_eq(world_try_start(&world, &stranger, "order", NULL, "1", "x", &reason), 0);
	expect_refusal(&world, &world.fixture.caller, "order", NULL, "1", "x", EACCES,
		       "not_permitted");
	world_await(&world, "1", RUN_COMPLETED);
	expect_value(&world, "1", RUN_VALUE_RESULT, NULL, "4711\n");
	stranger.uid = 4712;
	expect_refusal(&world, &stranger, "order", NULL, "1", "x", EACCES, "not_permitted");
	cr_assert_eq(runs_check_access(world.engine, &stranger, "1"), -EACCES);
	stranger.uid = 4711;
	cr_assert_eq(runs_check_access(world.engine, &stranger, "1"), 0);
	cr_assert_eq(runs_check_access(world.engine, &stranger, "2"), -ENOENT);
	world_close(&world);
}

RUNS(the_same_start_again_is_a_success)
{
	struct world world;
	struct digest first;
	struct run_view view;
	struct reason reason = {0};

	world_open(&world);
	first = world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "1", "in");
	world_start(&world, "order", "1", "in");
	world_deploy(&world, "order", ",\"label\":\"2\"", script_waits);
	world_start(&world, "order", "1", "in");
	cr_assert_eq(
	    world_try_start(&world, &world.fixture.caller, "order", &first, "1", "in", &reason), 0);
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	world_start(&world, "order", "1", "in");
	world_remount(&world);
	world_start(&world, "order", "1", "in");
	expect_history(&world, "1", "WorkflowStarted", 1);
	expect_history(&world, "1", "AttemptStarted", 1);
	cr_assert_eq(runs_view(world.engine, "1", &view), 0);
	cr_assert(digest_equal(&view.version, &first));
	world_close(&world);
}

RUNS(fails_and_is_tried_again)
{
	struct world world;
	struct run_view view;

	world_open(&world);
	world_deploy(&world, "order",
		     ",\"retry\":{\"max_attempts\":5,\"initial_ms\":20,\"max_ms\":40}",
		     "#!/bin/sh\n[ $AION_ATTEMPT -lt 4 ] && exit $AION_ATTEMPT\necho done\n");
	world_start(&world, "order", "1", "");
	world_await(&world, "1", RUN_COMPLETED);
	cr_assert_eq(runs_view(world.engine, "1", &view), 0);
	cr_assert_eq(view.attempt, 4);
	expect_history(&world, "1", "AttemptStarted", 4);
	expect_history(&world, "1", "\"exit_code\":3", 1);
	expect_history(&world, "1", "retry_at", 3);
	expect_value(&world, "1", RUN_VALUE_RESULT, NULL, "done\n");
	cr_assert_not(view.has_error);
	world_close(&world);
}

RUNS(fails_for_good_after_max_attempts)
{
	struct world world;
	char *error;

	world_open(&world);
	world_deploy(&world, "order", ",\"retry\":{\"max_attempts\":2,\"initial_ms\":10}",
		     "#!/bin/sh\necho first >&2\necho last words >&2\nexit 7\n");
	world_start(&world, "order", "1", "");
	world_await(&world, "1", RUN_FAILED);
	expect_history(&world, "1", "AttemptStarted", 2);
	expect_history(&world, "1", "WorkflowFailed", 1);
	error = world_error(&world, "1");
	cr_assert_not_null(strstr(error, "code 7"), "%s", error);
	cr_assert_not_null(strstr(error, "last words"), "%s", error);
	free(error);
	cr_assert_eq(wait_look(world.engine, "1", WAIT_RESULT, NULL), -EIO);
	world_close(&world);
}

RUNS(exit_100_fails_at_once)
{
	struct world world;

	world_open(&world);
	world_deploy(&world, "order", ",\"retry\":{\"max_attempts\":9}", "#!/bin/sh\nexit 100\n");
	world_start(&world, "order", "1", "");
	world_await(&world, "1", RUN_FAILED);
	expect_history(&world, "1", "AttemptStarted", 1);
	world_close(&world);
}

RUNS(a_signal_and_a_missing_interpreter_are_failures)
{
	struct world world;

	world_open(&world);
	world_deploy(&world, "killed", ",\"retry\":{\"max_attempts\":1}",
		     "#!/bin/sh\nkill -SEGV $$\n");
	world_deploy(&world, "missing", ",\"retry\":{\"max_attempts\":1}",
		     "#!/nonexistent/interpreter\n");
	world_start(&world, "killed", "1", "");
	world_start(&world, "missing", "2", "");
	world_await(&world, "1", RUN_FAILED);
	world_await(&world, "2", RUN_FAILED);
	expect_history(&world, "1", "\"signal\":11", 1);
	expect_history(&world, "2", "\"exit_code\":127", 1);
	expect_history(&world, "2", "cannot find the interpreter", 2);
	world_close(&world);
}

RUNS(large_values_are_contents)
{
	struct run_value_view view;
	struct world world;
	char *input = malloc(100001), *bytes;

	cr_assert_not_null(input);
	memset(input, 'i', 100000);
	input[100000] = '\0';
	world_open(&world);
	world_deploy(&world, "order", "", "#!/bin/sh\ncat\n");
	world_start(&world, "order", "1", input);
	world_await(&world, "1", RUN_COMPLETED);
	cr_assert_eq(runs_read_value(world.engine, "1", RUN_VALUE_RESULT, NULL, &view, &bytes), 0);
	cr_assert_null(bytes);
	cr_assert_eq(view.bytes, 100000);
	world_expect_clean(&world);
	cr_assert_eq(runs_remove(world.engine, &world.fixture.caller, "1", NULL), 0);
	world_expect_clean(&world);
	world_close(&world);
	free(input);
}

RUNS(a_result_has_its_limit)
{
	struct world world;

	world_open(&world);
	world_deploy(&world, "quick", "", "#!/bin/sh\nhead -c 67108865 /dev/zero\n");
	world_deploy(&world, "slow", "",
		     "#!/bin/sh\nhead -c 67108865 /dev/zero\nexec sleep 1000\n");
	world_start(&world, "quick", "1", "");
	world_start(&world, "slow", "2", "");
	world_await(&world, "1", RUN_FAILED);
	world_await(&world, "2", RUN_FAILED);
	expect_history(&world, "1", "64 MiB", 2);
	expect_history(&world, "2", "64 MiB", 2);
	world_close(&world);
}

RUNS(the_deadline_ends_it)
{
	struct world world;

	world_open(&world);
	world_deploy(&world, "order", ",\"timeout\":{\"secs\":0,\"nanos\":400000000}",
		     script_sleeps);
	world_start(&world, "order", "1", "");
	world_start(&world, "order", "2", "");
	cr_assert_eq(world_control(&world, "2", "pause"), 0);
	world_await(&world, "1", RUN_TIMED_OUT);
	world_await(&world, "2", RUN_TIMED_OUT);
	expect_history(&world, "1", "\"how\":\"timed_out\"", 1);
	cr_assert_eq(wait_look(world.engine, "1", WAIT_RESULT, NULL), -ETIMEDOUT);
	/* A retry counts anew. */
	cr_assert_eq(world_control(&world, "2", "retry"), 0);
	cr_assert_neq(world_status(&world, "2"), RUN_TIMED_OUT);
	world_await(&world, "2", RUN_TIMED_OUT);
	expect_history(&world, "2", "WorkflowTimedOut", 2);
	world_close(&world);
}

/* ---- the end of the mount, and of the daemon ---- */

RUNS(a_stopped_attempt_goes_on_at_the_next_mount)
{
	struct world world;
	char *before, *after;

	world_open(&world);
	world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "1", "in");
	world_await_attempt(&world, "1", 1);
	cr_assert_eq(world_step(&world, "1", "a", "cmd", "result a", NULL), 0);
	engine_stop(world.engine);
	engine_stop(world.engine);
	before = world_history(&world, "1");
	cr_assert_eq(count_of(before, "\"how\":\"stopped\""), 1, "%s", before);
	world_remount(&world);
	world_await_attempt(&world, "1", 2);
	expect_value(&world, "1", RUN_VALUE_STEP, "a", "result a");
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	after = world_history(&world, "1");
	cr_assert_eq(strncmp(after, before, strlen(before)), 0, "%s\n%s", before, after);
	expect_history(&world, "1", "\"attempt\":2", 2);
	free(before);
	free(after);
	world_close(&world);
}

/* A daemon of our own, that is killed in the middle of an attempt. */
RUNS(a_killed_daemon_loses_nothing)
{
	struct world world;
	struct run_view view;
	char *before, *after;
	pid_t daemon;
	int ends[2];

	world_open(&world);
	world_deploy(&world, "order", "", script_waits);
	engine_close(world.engine);
	cr_assert_eq(pipe(ends), 0);
	daemon = fork();
	cr_assert_geq(daemon, 0);
	if (daemon == 0) {
		world_mount(&world);
		world_start(&world, "order", "1", "in");
		world_await_attempt(&world, "1", 1);
		cr_assert_eq(world_step(&world, "1", "a", "cmd", "result a", NULL), 0);
		before = world_history(&world, "1");
		cr_assert_gt(write(ends[1], before, strlen(before)), 0);
		for (;;)
			pause();
	}
	before = calloc(1, 65536);
	cr_assert_gt(read(ends[0], before, 65535), 0);
	kill(daemon, SIGKILL);
	waitpid(daemon, NULL, 0);
	world_mount(&world);
	world_await_attempt(&world, "1", 2);
	expect_history(&world, "1", "\"how\":\"crashed\"", 1);
	expect_value(&world, "1", RUN_VALUE_STEP, "a", "result a");
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	after = world_history(&world, "1");
	cr_assert_eq(strncmp(after, before, strlen(before)), 0, "%s\n%s", before, after);
	cr_assert_eq(runs_view(world.engine, "1", &view), 0);
	cr_assert_eq(view.attempt, 2);
	free(before);
	free(after);
	world_close(&world);
}

/* ---- removal ---- */

RUNS(only_finished_runs_can_be_removed)
{
	struct caller stranger = {.uid = 4711, .gid = 4711, .pid = getpid()};
	struct reason reason = {0};
	struct world world;

	world_open(&world);
	world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "1", "in");
	world_await_attempt(&world, "1", 1);
	cr_assert_eq(runs_remove(world.engine, &world.fixture.caller, "1", &reason), -EBUSY);
	cr_assert_not_null(strstr(reason.message, "running"), "%s", reason.message);
	cr_assert_eq(runs_remove(world.engine, &world.fixture.caller, "2", &reason), -ENOENT);
	cr_assert_eq(world_step(&world, "1", "a", NULL, "x", NULL), 0);
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	cr_assert_eq(runs_remove(world.engine, &stranger, "1", &reason), -EACCES);
	cr_assert_eq(runs_remove(world.engine, &world.fixture.caller, "1", &reason), 0);
	cr_assert_eq(runs_remove(world.engine, &world.fixture.caller, "1", &reason), -ENOENT);
	cr_assert_eq(world_status(&world, "1"), RUN_STATUSES);
	world_expect_clean(&world);
	/* The ID is free, for another type as well. */
	world_deploy(&world, "other", "", "#!/bin/sh\ncat\n");
	world_start(&world, "other", "1", "another");
	world_await(&world, "1", RUN_COMPLETED);
	world_close(&world);
}

RUNS(finished_runs_go_by_age)
{
	struct world world;

	world_open(&world);
	world.fixture.options.keep_finished_ns = 700000000;
	world_remount(&world);
	world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "1", "in");
	world_start(&world, "order", "2", "in");
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	sleep_ms(200);
	cr_assert_eq(world_status(&world, "1"), RUN_COMPLETED);
	world_await(&world, "1", RUN_STATUSES);
	cr_assert_eq(world_status(&world, "2"), RUN_RUNNING);
	cr_assert_eq(world_control(&world, "2", "cancel"), 0);
	world.fixture.options.keep_finished_ns = 1;
	world_remount(&world);
	world_await(&world, "2", RUN_STATUSES);
	world_expect_clean(&world);
	world_close(&world);
}

/* ---- damage ---- */

/* Flips a bit of an event behind the store's back. */
static void damage_event(struct world *world, uint64_t run, uint64_t sequence)
{
	uint8_t bytes[16];
	MDB_val key = {.mv_size = sizeof(bytes), .mv_data = bytes}, value;
	struct env env;
	MDB_txn *txn;
	char *copy;

	be64_put(bytes, run);
	be64_put(bytes + 8, sequence);
	cr_assert_eq(env_open(world->fixture.state, &rows_kind, ENV_WRITE, &env, NULL), 0);
	cr_assert_eq(mdb_txn_begin(env.lmdb, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_get(txn, env.tables[ROWS_EVENTS], &key, &value), 0);
	copy = malloc(value.mv_size);
	memcpy(copy, value.mv_data, value.mv_size);
	copy[value.mv_size / 2] ^= 4;
	value.mv_data = copy;
	cr_assert_eq(mdb_put(txn, env.tables[ROWS_EVENTS], &key, &value, 0), 0);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	env_close(&env);
	free(copy);
}

RUNS(a_damaged_history_is_isolated_alone)
{
	struct world world;
	struct run_view view;

	world_open(&world);
	world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "1", "in");
	world_start(&world, "order", "2", "in");
	world_await_attempt(&world, "1", 1);
	world_await_attempt(&world, "2", 1);
	cr_assert_eq(runs_view(world.engine, "1", &view), 0);
	engine_close(world.engine);
	damage_event(&world, view.number, 2);
	world_mount(&world);
	cr_assert_eq(world_status(&world, "1"), RUN_STATUSES);
	expect_refusal(&world, &world.fixture.caller, "order", NULL, "1", "in", EEXIST,
		       "run_exists");
	world_await_attempt(&world, "2", 2);
	world_go(&world, "2");
	world_await(&world, "2", RUN_COMPLETED);
	world_close(&world);
}
