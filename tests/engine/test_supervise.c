/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What makes runs go on: parking and waking, commands, pins, stranding, places for attempts, the
 * end of the mount, and a store that takes nothing.
 */
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#include "engine/attempt.h"
#include "engine/route.h"
#include "engine/wait.h"
#include "store/private.h"
#include "store/tables.h"
#include "tests/engine/running.h"

#define SUPERVISE(name) Test(supervise, name, .timeout = 120)

/* ---- a store that is full when a test says so ---- */

int __real_rows_commit(struct store *store, struct row_change *changes, size_t count,
		       struct reason *reason);
int __wrap_rows_commit(struct store *store, struct row_change *changes, size_t count,
		       struct reason *reason);

static atomic_bool is_full;
static atomic_uint refused;
static atomic_int delay_ms;

int __wrap_rows_commit(struct store *store, struct row_change *changes, size_t count,
		       struct reason *reason)
{
	if (atomic_load(&is_full)) {
		atomic_fetch_add(&refused, 1);
		return reason_set(reason, ENOSPC, "store_full", "there is no room (a test)");
	}
	if (atomic_load(&delay_ms))
		sleep_ms(atomic_load(&delay_ms));
	return __real_rows_commit(store, changes, count, reason);
}

void __real_value_settle(struct value *value, int committed);
void __wrap_value_settle(struct value *value, int committed);

static atomic_int settle_ms, settling;

void __wrap_value_settle(struct value *value, int committed)
{
	atomic_fetch_add(&settling, 1);
	if (committed && atomic_load(&settle_ms))
		sleep_ms(atomic_load(&settle_ms));
	__real_value_settle(value, committed);
	atomic_fetch_sub(&settling, 1);
}

/* ---- parking ---- */

struct waiting {
	struct waiter waiter;
	atomic_int readied;
};

static void note_ready(struct waiter *waiter)
{
	atomic_fetch_add(&((struct waiting *)waiter)->readied, 1);
}

/* A read that is held, by a process of the attempt or by somebody else. */
static void hold(struct world *world, struct waiting *waiting, const struct caller *caller,
		 enum wait_kind kind, const char *name)
{
	*waiting = (struct waiting){.waiter.ready = note_ready};
	cr_assert_eq(wait_add(world->engine, &waiting->waiter, caller, "1", kind, name), 0);
}

static void release(struct world *world, struct waiting *waiting)
{
	wait_remove(world->engine, &waiting->waiter);
}

static void open_sleeping(struct world *world)
{
	world_open(world);
	world->fixture.options.park_after_ns = 100000000;
	world_remount(world);
	world_deploy(world, "order", "", script_sleeps);
	world_start(world, "order", "1", "in");
	world_await_attempt(world, "1", 1);
}

SUPERVISE(parks_and_is_woken_by_a_signal)
{
	struct world world;
	struct caller task;
	struct waiting waiting;

	open_sleeping(&world);
	task = world_task(&world, "1");
	hold(&world, &waiting, &task, WAIT_SIGNAL, "go");
	world_await(&world, "1", RUN_PARKED);
	release(&world, &waiting);
	expect_history(&world, "1", "\"waits\":[\"signals/go\"]", 1);
	cr_assert_eq(world_signal(&world, "1", "other", ""), 0);
	sleep_ms(100);
	cr_assert_eq(world_status(&world, "1"), RUN_PARKED);
	/* Asleep across a mount. */
	world_remount(&world);
	cr_assert_eq(world_status(&world, "1"), RUN_PARKED);
	cr_assert_eq(supervisor_running(world.engine), 0);
	cr_assert_eq(world_signal(&world, "1", "go", ""), 0);
	world_await_attempt(&world, "1", 2);
	expect_history(&world, "1", "\"how\":\"failed\"", 0);
	world_close(&world);
}

SUPERVISE(parks_and_is_woken_by_a_timer)
{
	struct world world;
	struct caller task;
	struct waiting waiting;

	open_sleeping(&world);
	task = world_task(&world, "1");
	cr_assert_eq(world_timer(&world, "1", "t", "2s"), 0);
	hold(&world, &waiting, &task, WAIT_TIMER, "t");
	world_await(&world, "1", RUN_PARKED);
	release(&world, &waiting);
	world_await_attempt(&world, "1", 2);
	expect_history(&world, "1", "TimerFired", 1);
	world_close(&world);
}

SUPERVISE(what_was_due_while_it_was_parked_wakes_it_at_the_mount)
{
	struct world world;
	struct caller task;
	struct waiting waiting;

	open_sleeping(&world);
	task = world_task(&world, "1");
	cr_assert_eq(world_timer(&world, "1", "t", "2s"), 0);
	hold(&world, &waiting, &task, WAIT_TIMER, "t");
	world_await(&world, "1", RUN_PARKED);
	release(&world, &waiting);
	engine_close(world.engine);
	sleep_ms(2100);
	world_mount(&world);
	world_await_attempt(&world, "1", 2);
	world_close(&world);
}

SUPERVISE(does_not_park_what_nothing_would_wake_or_what_works)
{
	struct waiting waiting;
	struct reason reason = {0};
	struct world world;
	struct caller task;

	open_sleeping(&world);
	task = world_task(&world, "1");
	/* Nobody armed it. */
	hold(&world, &waiting, &task, WAIT_TIMER, "unarmed");
	sleep_ms(1500);
	cr_assert_eq(world_status(&world, "1"), RUN_RUNNING);
	release(&world, &waiting);
	/* Somebody else waits. */
	hold(&world, &waiting, &world.fixture.caller, WAIT_SIGNAL, "go");
	sleep_ms(1500);
	cr_assert_eq(world_status(&world, "1"), RUN_RUNNING);
	release(&world, &waiting);
	/* A step is open. */
	cr_assert_eq(step_ask(world.engine, &task, "1", "s", NULL, &reason), 0);
	hold(&world, &waiting, &task, WAIT_SIGNAL, "go");
	sleep_ms(1500);
	cr_assert_eq(world_status(&world, "1"), RUN_RUNNING);
	step_abandon(world.engine, "1", "s", 1);
	world_await(&world, "1", RUN_PARKED);
	release(&world, &waiting);
	world_close(&world);
}

SUPERVISE(does_not_park_what_computes)
{
	struct waiting waiting;
	struct world world;
	struct caller task;

	open_sleeping(&world);
	world_deploy(&world, "busy", "", "#!/bin/sh\nwhile :; do :; done\n");
	cr_assert_eq(world_control(&world, "1", "cancel"), 0);
	world_await(&world, "1", RUN_CANCELLED);
	while (runs_remove(world.engine, &world.fixture.caller, "1", NULL) == -EBUSY)
		sleep_ms(3);
	world_start(&world, "busy", "1", "in");
	world_await(&world, "1", RUN_RUNNING);
	task = world_task(&world, "1");
	hold(&world, &waiting, &task, WAIT_SIGNAL, "go");
	sleep_ms(2000);
	cr_assert_eq(world_status(&world, "1"), RUN_RUNNING);
	release(&world, &waiting);
	world_close(&world);
}

/* Two of its processes wait; one has just been told. If it were parked now, only the other's would
 * wake it, and what the first was told would be lost until then. */
SUPERVISE(does_not_park_what_has_just_been_woken)
{
	struct event event = {.kind = EVENT_SIGNAL_DELIVERED, .name = "first"};
	const struct append append = {.events = &event, .count = 1};
	struct waiting first, second;
	struct world world;
	struct caller task;
	struct run *run;

	open_sleeping(&world);
	world.fixture.options.park_after_ns = 2000000000;
	world_remount(&world);
	world_await_attempt(&world, "1", 2);
	task = world_task(&world, "1");
	hold(&world, &first, &task, WAIT_SIGNAL, "first");
	hold(&world, &second, &task, WAIT_SIGNAL, "second");
	run = runs_find(world.engine, "1");
	/* Until it is found idle, and the look waits for the lock. */
	sleep_ms(1400);
	pthread_mutex_lock(&run->lock);
	sleep_ms(2200);
	cr_assert_eq(history_append(world.engine, run, &append, NULL), 0);
	pthread_mutex_unlock(&run->lock);
	cr_assert_eq(atomic_load(&first.readied), 1);
	sleep_ms(700);
	cr_assert_eq(world_status(&world, "1"), RUN_RUNNING);
	world_await(&world, "1", RUN_PARKED);
	release(&world, &second);
	run_put(run);
	world_close(&world);
}

/* ---- commands ---- */

static void expect_wrong_state(struct world *world, const char *command)
{
	char *before = world_history(world, "1"), *after;
	const char *status = run_status_name(world_status(world, "1"));
	struct reason reason = {0};

	cr_assert_eq(control_run(world->engine, &world->fixture.caller, "1", command,
				 strlen(command), &reason),
		     -EBUSY, "%s while %s", command, status);
	cr_assert_str_eq(reason.code, "wrong_state");
	cr_assert_not_null(strstr(reason.message, status), "%s", reason.message);
	after = world_history(world, "1");
	cr_assert_str_eq(before, after);
	free(before);
	free(after);
}

SUPERVISE(commands_are_for_some_states_only)
{
	struct caller stranger = {.uid = 4711, .gid = 4711, .pid = getpid()};
	struct reason reason = {0};
	struct world world;

	open_sleeping(&world);
	world_await(&world, "1", RUN_RUNNING);
	cr_assert_eq(world_control(&world, "1", ""), -EINVAL);
	cr_assert_eq(world_control(&world, "1", "stop"), -EINVAL);
	cr_assert_eq(world_control(&world, "1", "pause now"), -EINVAL);
	cr_assert_eq(world_control(&world, "1", "paus"), -EINVAL);
	cr_assert_eq(world_control(&world, "1", "pause\nresume"), -EINVAL);
	cr_assert_eq(world_control(&world, "2", "pause"), -ENOENT);
	cr_assert_eq(control_run(world.engine, &stranger, "1", "pause", 5, &reason), -EACCES);
	expect_wrong_state(&world, "resume");
	expect_wrong_state(&world, "retry");
	cr_assert_eq(world_control(&world, "1", "pause\n"), 0);
	cr_assert_eq(world_status(&world, "1"), RUN_PAUSED);
	expect_wrong_state(&world, "pause");
	expect_wrong_state(&world, "retry");
	world_remount(&world);
	cr_assert_eq(world_status(&world, "1"), RUN_PAUSED);
	cr_assert_eq(world_control(&world, "1", "resume"), 0);
	world_await_attempt(&world, "1", 2);
	cr_assert_eq(world_control(&world, "1", "cancel no longer needed\n"), 0);
	cr_assert_eq(world_status(&world, "1"), RUN_CANCELLED);
	expect_history(&world, "1", "\"reason\":\"no longer needed\"", 1);
	expect_history(&world, "1", "\"how\":\"cancelled\"", 1);
	cr_assert_eq(wait_look(world.engine, "1", WAIT_RESULT, NULL), -ECANCELED);
	expect_wrong_state(&world, "pause");
	expect_wrong_state(&world, "resume");
	expect_wrong_state(&world, "cancel");
	cr_assert_eq(world_control(&world, "1", "retry"), 0);
	world_await_attempt(&world, "1", 3);
	cr_assert_eq(world_control(&world, "1", "cancel"), 0);
	world_close(&world);
}

SUPERVISE(a_completed_run_takes_no_command)
{
	struct world world;

	world_open(&world);
	world_deploy(&world, "order", "", "#!/bin/sh\n");
	world_start(&world, "order", "1", "");
	world_await(&world, "1", RUN_COMPLETED);
	expect_wrong_state(&world, "retry");
	expect_wrong_state(&world, "cancel");
	expect_wrong_state(&world, "pause");
	world_close(&world);
}

static void *command_at_random(void *argument)
{
	static const char *const words[] = {"pause", "resume", "cancel", "retry"};
	struct world *world = argument;
	unsigned seed = (unsigned)(uintptr_t)pthread_self();

	for (int i = 0; i < 60; i++) {
		int error = world_control(world, "1", words[rand_r(&seed) % 4]);

		if (error && error != -EBUSY)
			return (void *)1;
		sleep_ms(rand_r(&seed) % 20);
	}
	return NULL;
}

/* While attempts start, end and are collected. */
SUPERVISE(commands_may_come_at_any_time)
{
	struct world world;
	pthread_t threads[4];
	void *failed;

	world_open(&world);
	world_deploy(&world, "order", ",\"retry\":{\"initial_ms\":1}",
		     "#!/bin/sh\nsleep 0.02\nexit 1\n");
	world_start(&world, "order", "1", "");
	for (size_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, command_at_random, &world);
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	world_control(&world, "1", "cancel");
	world_expect_clean(&world);
	world_close(&world);
}

/* ---- pins ---- */

static int unload(struct world *world, const struct digest *version, struct reason *reason)
{
	return unload_version(world->engine, &world->fixture.caller, "order", version, reason);
}

SUPERVISE(a_pinned_version_is_not_unloaded)
{
	struct reason reason = {0};
	struct digest first;
	struct world world;

	world_open(&world);
	first = world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "r-1", "in");
	world_deploy(&world, "order", ",\"label\":\"2\"", script_waits);
	cr_assert_eq(unload(&world, &first, &reason), -EBUSY);
	cr_assert_not_null(strstr(reason.message, "run r-1 "), "%s", reason.message);
	world_remount(&world);
	memset(&reason, 0, sizeof(reason));
	cr_assert_eq(unload(&world, &first, &reason), -EBUSY);
	cr_assert_not_null(strstr(reason.message, "run r-1 "), "%s", reason.message);
	world_go(&world, "r-1");
	world_await(&world, "r-1", RUN_COMPLETED);
	cr_assert_eq(unload(&world, &first, &reason), 0, "%s", reason.message);
	world_expect_clean(&world);
	world_close(&world);
}

/* Whoever has seen its end may unload at once what it was pinned to. */
SUPERVISE(a_run_that_ended_holds_no_version)
{
	struct reason reason = {0};
	struct version *version;
	struct digest digest;
	struct world world;
	char id[16];

	world_open(&world);
	digest = world_deploy(&world, "order", "", "#!/bin/sh\n");
	version = catalog_find(world.engine->catalog, "order", &digest);
	atomic_store(&settle_ms, 20); /* what comes behind its end takes its time */
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		world_start(&world, "order", id, "");
		while (wait_look(world.engine, id, WAIT_RESULT, NULL) == -EAGAIN)
			sched_yield();
		cr_assert_eq(atomic_load(&version->pins), 0);
	}
	version_put(version);
	world_deploy(&world, "order", ",\"label\":\"2\"", "#!/bin/sh\n");
	cr_assert_eq(unload(&world, &digest, &reason), 0, "%s", reason.message);
	world_close(&world);
}

/* A retry pins again before it says that it reopened. */
SUPERVISE(a_retry_and_an_unload_never_both_win)
{
	struct reason reason = {0};
	struct digest first;
	struct world world;

	world_open(&world);
	first = world_deploy(&world, "order", "", script_sleeps);
	world_start(&world, "order", "1", "in");
	world_deploy(&world, "order", ",\"label\":\"2\"", script_sleeps);
	world_await_attempt(&world, "1", 1);
	cr_assert_eq(world_control(&world, "1", "cancel"), 0);
	engine_stop(world.engine); /* nobody attends to it any more */
	cr_assert_eq(world_control(&world, "1", "retry"), 0);
	cr_assert_eq(unload(&world, &first, &reason), -EBUSY, "%s", reason.message);
	world_close(&world);
}

#define STARTERS 5
#define STARTS 12

struct contest {
	struct world *world;
	struct digest versions[2];
	atomic_bool is_over;
	atomic_int next, unloads, failures;
};

static void *start_runs(void *argument)
{
	struct contest *contest = argument;

	for (int i = 0; i < STARTS; i++) {
		char id[16];
		int error;

		snprintf(id, sizeof(id), "r%d", atomic_fetch_add(&contest->next, 1));
		do
			error = world_try_start(contest->world, &contest->world->fixture.caller,
						"order", NULL, id, "", NULL);
		while (error == -ENOENT); /* what was routed is unloaded by now */
		if (error)
			atomic_fetch_add(&contest->failures, 1);
	}
	return NULL;
}

static void *reroute(void *argument)
{
	struct contest *contest = argument;
	struct reason reason = {0};

	for (unsigned i = 0; !atomic_load(&contest->is_over); i++) {
		struct version *target = catalog_find(contest->world->engine->catalog, "order",
						      &contest->versions[i % 2]);

		if (target)
			route_set(contest->world->engine, &contest->world->fixture.caller, "order",
				  target->hex, &reason);
		version_put(target);
	}
	return NULL;
}

static void *unload_all(void *argument)
{
	struct contest *contest = argument;

	for (unsigned i = 0; !atomic_load(&contest->is_over); i++) {
		struct reason reason = {0};

		if (unload(contest->world, &contest->versions[i % 2], &reason) == 0) {
			atomic_fetch_add(&contest->unloads, 1);
			world_put(contest->world, BOX_STAGE, "order",
				  i % 2 ? ",\"label\":\"2\"" : "", "#!/bin/sh\nbasename $PWD\n");
		}
		sleep_ms(1);
	}
	return NULL;
}

static void check_executed(struct contest *contest, const char *id)
{
	struct run_view view;
	char hex[DIGEST_HEX + 2];

	world_await(contest->world, id, RUN_COMPLETED);
	cr_assert_eq(runs_view(contest->world->engine, id, &view), 0);
	digest_hex(&view.version, hex);
	strcat(hex, "\n");
	expect_value(contest->world, id, RUN_VALUE_RESULT, NULL, hex);
}

SUPERVISE(every_run_executes_the_version_that_it_records)
{
	struct world world;
	struct contest contest = {.world = &world};
	pthread_t starters[STARTERS], others[3];
	char id[16];

	world_open(&world);
	contest.versions[0] = world_deploy(&world, "order", "", "#!/bin/sh\nbasename $PWD\n");
	contest.versions[1] =
	    world_deploy(&world, "order", ",\"label\":\"2\"", "#!/bin/sh\nbasename $PWD\n");
	for (size_t i = 0; i < STARTERS; i++)
		pthread_create(&starters[i], NULL, start_runs, &contest);
	pthread_create(&others[0], NULL, reroute, &contest);
	pthread_create(&others[1], NULL, reroute, &contest);
	pthread_create(&others[2], NULL, unload_all, &contest);
	for (size_t i = 0; i < STARTERS; i++)
		pthread_join(starters[i], NULL);
	atomic_store(&contest.is_over, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(others[i], NULL);
	cr_assert_eq(atomic_load(&contest.failures), 0);
	for (int i = 0; i < STARTERS * STARTS; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		check_executed(&contest, id);
		expect_history(&world, id, "RunStranded", 0);
	}
	world_expect_clean(&world);
	world_close(&world);
}

/* ---- stranding ---- */

/* Takes a version's row away behind the store's back. */
static void lose_version(struct world *world, const struct digest *version)
{
	uint64_t left = 0;
	MDB_cursor *cursor;
	struct env env;
	MDB_txn *txn;
	MDB_val key, value;

	cr_assert_eq(env_open(world->fixture.state, &rows_kind, ENV_WRITE, &env, NULL), 0);
	cr_assert_eq(mdb_txn_begin(env.lmdb, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_cursor_open(txn, env.tables[ROWS_VERSIONS], &cursor), 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		if (memmem(key.mv_data, key.mv_size, version->bytes, DIGEST_BYTES))
			cr_assert_eq(mdb_cursor_del(cursor, 0), 0);
		else
			left++;
	}
	mdb_cursor_close(cursor);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	cr_assert_gt(left, 0);
	env_close(&env);
}

SUPERVISE(a_run_without_its_version_strands_alone_and_recovers)
{
	struct world world;
	struct digest lost;
	char *error;

	world_open(&world);
	world_deploy(&world, "other", "", script_waits);
	lost = world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "1", "in");
	world_start(&world, "order", "2", "in");
	world_start(&world, "order", "3", "in");
	world_start(&world, "other", "4", "in");
	for (const char *id = "1"; *id <= '3' && id[0]; id = *id == '1'	  ? "2"
							     : *id == '2' ? "3"
									  : "")
		world_await_attempt(&world, id, 1);
	cr_assert_eq(world_control(&world, "3", "pause"), 0);
	engine_close(world.engine);
	lose_version(&world, &lost);
	world_mount(&world);
	cr_assert_eq(world_status(&world, "1"), RUN_STRANDED);
	cr_assert_eq(world_status(&world, "2"), RUN_STRANDED);
	cr_assert_eq(world_status(&world, "3"), RUN_STRANDED);
	error = world_error(&world, "1");
	cr_assert_not_null(strstr(error, "is not loaded"), "%s", error);
	free(error);
	expect_wrong_state(&world, "pause");
	expect_wrong_state(&world, "retry");
	world_await_attempt(&world, "4", 2);
	world_go(&world, "4");
	world_await(&world, "4", RUN_COMPLETED);
	cr_assert_eq(world_signal(&world, "1", "s", "kept"), 0);
	cr_assert_eq(world_control(&world, "2", "cancel"), 0);
	world_remount(&world);
	cr_assert_eq(world_status(&world, "1"), RUN_STRANDED);
	expect_history(&world, "1", "RunStranded", 1);
	world_deploy(&world, "order", "", script_waits);
	world_await_attempt(&world, "1", 2);
	expect_history(&world, "1", "RunRecovered", 1);
	world_await(&world, "3", RUN_PAUSED);
	cr_assert_eq(world_status(&world, "2"), RUN_CANCELLED);
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	world_close(&world);
}

/* The version comes back while the run is being stranded: it must not be overlooked. */
SUPERVISE(a_version_that_returns_at_that_moment_is_seen)
{
	struct world world;
	struct digest version;
	struct version *loaded;

	world_open(&world);
	world.fixture.options.no_scrub = true;
	world_remount(&world);
	version = world_deploy(&world, "order", "", script_sleeps);
	world_start(&world, "order", "1", "in");
	world_await_attempt(&world, "1", 1);
	/* No end of a process leads to another look. */
	cr_assert_eq(world_control(&world, "1", "pause"), 0);
	while (supervisor_running(world.engine))
		sleep_ms(3);
	loaded = catalog_find(world.engine->catalog, "order", &version);
	atomic_store(&delay_ms, 300);
	atomic_store(&loaded->is_damaged, true);
	supervisor_version_changed(world.engine, "order", &version, false);
	sleep_ms(100); /* it is found damaged, and that is being written */
	atomic_store(&loaded->is_damaged, false);
	supervisor_version_changed(world.engine, "order", &version, true);
	version_put(loaded);
	world_await(&world, "1", RUN_STRANDED);
	world_await(&world, "1", RUN_PAUSED);
	expect_history(&world, "1", "RunRecovered", 1);
	atomic_store(&delay_ms, 0);
	world_close(&world);
}

/* ---- places ---- */

SUPERVISE(no_more_attempts_run_than_may)
{
	char *seen, id[16];
	int now = 0, most = 0;
	struct world world;

	world_open(&world);
	world.fixture.options.max_attempts_running = 2;
	world_remount(&world);
	world_deploy(&world, "order", ",\"retry\":{\"max_attempts\":4,\"initial_ms\":1}",
		     "#!/bin/sh\necho + >>$AION_MOUNT/seen/all\nsleep 0.05\n"
		     "echo - >>$AION_MOUNT/seen/all\n[ $AION_ATTEMPT = 2 ]\n");
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		world_start(&world, "order", id, "");
		cr_assert_leq(supervisor_running(world.engine), 2);
	}
	for (int i = 0; i < 20; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		world_await(&world, id, RUN_COMPLETED);
		cr_assert_leq(supervisor_running(world.engine), 2);
	}
	seen = world_read(&world, "seen/all");
	cr_assert_eq(count_of(seen, "+"), 40);
	for (const char *at = seen; *at; at++) {
		now += *at == '+' ? 1 : *at == '-' ? -1 : 0;
		most = now > most ? now : most;
	}
	cr_assert_eq(most, 2);
	free(seen);
	world_close(&world);
}

/* Those that wait for a place, and give it up, take nobody's. */
SUPERVISE(a_place_is_never_lost)
{
	struct world world;
	char id[16];

	world_open(&world);
	world.fixture.options.max_attempts_running = 1;
	world_remount(&world);
	world_deploy(&world, "order", "", script_waits);
	for (int i = 0; i < 12; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		world_start(&world, "order", id, "");
	}
	world_await_attempt(&world, "r0", 1);
	for (int i = 0; i < 11; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		cr_assert_eq(world_control(&world, id, i % 2 ? "cancel" : "pause"), 0);
		/* It may have had its turn. */
		while (i % 6 == 1 &&
		       runs_remove(world.engine, &world.fixture.caller, id, NULL) == -EBUSY)
			sleep_ms(1);
	}
	world_await_attempt(&world, "r11", 1);
	world_go(&world, "r11");
	world_await(&world, "r11", RUN_COMPLETED);
	for (int i = 0; i < 11; i += 2) {
		snprintf(id, sizeof(id), "r%d", i);
		cr_assert_eq(world_control(&world, id, "resume"), 0);
		world_go(&world, id);
	}
	for (int i = 0; i < 11; i += 2) {
		snprintf(id, sizeof(id), "r%d", i);
		world_await(&world, id, RUN_COMPLETED);
	}
	world_close(&world);
}

static int64_t cpu_ms(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000 +
	       usage.ru_stime.tv_sec * 1000 + usage.ru_stime.tv_usec / 1000;
}

static void expect_calm(long for_ms)
{
	int64_t before = cpu_ms();

	sleep_ms(for_ms);
	cr_assert_lt(cpu_ms() - before, for_ms / 4, "%d ms of CPU in %ld", (int)(cpu_ms() - before),
		     for_ms);
}

/* Its next attempt is due, but there is no place; then no attempts at all. */
SUPERVISE(whoever_cannot_start_waits_without_spinning)
{
	struct world world;
	char id[16];

	world_open(&world);
	world.fixture.options.max_attempts_running = 1;
	world_remount(&world);
	world_deploy(&world, "order", "", script_sleeps);
	world_deploy(&world, "bad", ",\"retry\":{\"initial_ms\":1,\"max_attempts\":9}",
		     "#!/bin/sh\nexit 1\n");
	for (int i = 0; i < 8; i++) {
		snprintf(id, sizeof(id), "bad%d", i);
		world_start(&world, "bad", id, "");
	}
	world_start(&world, "order", "1", "");
	world_await_attempt(&world, "1", 1);
	world_await(&world, "bad0", RUN_WAITING);
	sleep_ms(100);
	expect_calm(500);
	engine_stop(world.engine);
	expect_calm(500);
	engine_close(world.engine);
	/* Recovered, but not ready. */
	cr_assert_eq(engine_open(&world.fixture.options, &world.engine, NULL), 0);
	expect_calm(500);
	engine_ready(world.engine);
	world.fixture.engine = world.engine;
	world_await_attempt(&world, "1", 2);
	world_close(&world);
}

/* ---- a store that is full ---- */

SUPERVISE(a_full_store_delays_and_loses_nothing)
{
	struct world world;
	unsigned before;

	world_open(&world);
	world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "1", "in");
	world_await_attempt(&world, "1", 1);
	cr_assert_eq(world_timer(&world, "1", "t", "1s"), 0);
	atomic_store(&is_full, true);
	cr_assert_eq(world_step(&world, "1", "a", "cmd", "one", NULL), -ENOSPC);
	cr_assert_eq(world_signal(&world, "1", "s", ""), -ENOSPC);
	cr_assert_eq(world_control(&world, "1", "cancel"), -ENOSPC);
	cr_assert_eq(world_control(&world, "1", "pause"), -ENOSPC);
	cr_assert_eq(world_try_start(&world, &world.fixture.caller, "order", NULL, "2", "", NULL),
		     -ENOSPC);
	cr_assert_eq(world_status(&world, "1"), RUN_RUNNING);
	cr_assert_eq(world_status(&world, "2"), RUN_STATUSES);
	world_go(&world, "1");
	sleep_ms(1200); /* it has ended, and the timer is due */
	before = atomic_load(&refused);
	expect_calm(1000);
	cr_assert_leq(atomic_load(&refused), before + 4);
	atomic_store(&is_full, false);
	world_await(&world, "1", RUN_COMPLETED);
	expect_value(&world, "1", RUN_VALUE_RESULT, NULL, "in");
	world_expect_clean(&world);
	world_close(&world);
}

SUPERVISE(a_full_store_does_not_keep_the_mount_from_ending)
{
	struct world world;
	int64_t begun;

	world_open(&world);
	world_deploy(&world, "order", ",\"retry\":{\"max_attempts\":1}", script_waits);
	world_start(&world, "order", "1", "in");
	world_start(&world, "order", "2", "in");
	world_await_attempt(&world, "1", 1);
	world_await_attempt(&world, "2", 1);
	atomic_store(&is_full, true);
	world_go(&world, "2");
	sleep_ms(200);
	begun = now_ms();
	engine_stop(world.engine);
	cr_assert_lt(now_ms() - begun, 3000);
	engine_close(world.engine);
	atomic_store(&is_full, false);
	/* What could not be told of the end is a crash, and no failure. */
	world_mount(&world);
	world_await_attempt(&world, "1", 2);
	expect_history(&world, "1", "\"how\":\"crashed\"", 1);
	world_close(&world);
}

/* It has room to say that it stops again, but not when its process was told to end. */
SUPERVISE(a_stopped_attempt_is_no_failed_one)
{
	struct world world;

	world_open(&world);
	world_deploy(&world, "order", ",\"retry\":{\"max_attempts\":1}", script_waits);
	world_start(&world, "order", "1", "in");
	world_await_attempt(&world, "1", 1);
	atomic_store(&delay_ms, 50);
	engine_stop(world.engine);
	atomic_store(&delay_ms, 0);
	expect_history(&world, "1", "\"how\":\"stopped\"", 1);
	expect_history(&world, "1", "\"how\":\"failed\"", 0);
	world_close(&world);
}

SUPERVISE(removal_by_age_is_tried_again_calmly)
{
	struct world world;
	unsigned before;

	world_open(&world);
	world.fixture.options.keep_finished_ns = 1000000000;
	world_remount(&world);
	world_deploy(&world, "order", "", "#!/bin/sh\n");
	world_start(&world, "order", "1", "in");
	world_await(&world, "1", RUN_COMPLETED);
	atomic_store(&is_full, true);
	sleep_ms(1200);
	before = atomic_load(&refused);
	cr_assert_gt(before, 0);
	expect_calm(1000);
	cr_assert_leq(atomic_load(&refused), before + 2);
	atomic_store(&is_full, false);
	world_await(&world, "1", RUN_STATUSES);
	world_close(&world);
}

/* What can't be written of a violation leaves the run unfinished, and so its pin. */
SUPERVISE(a_violation_that_cannot_be_written_gives_up_no_pin)
{
	struct reason reason = {0};
	struct version *version;
	struct digest digest;
	struct caller task;
	struct world world;

	world_open(&world);
	digest = world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "1", "in");
	world_await_attempt(&world, "1", 1);
	task = world_task(&world, "1");
	cr_assert_eq(step_ask(world.engine, &task, "1", "a", NULL, &reason), 0);
	version = catalog_find(world.engine->catalog, "order", &digest);
	cr_assert_eq(atomic_load(&version->pins), 1);
	atomic_store(&is_full, true);
	cr_assert_eq(step_ask(world.engine, &task, "1", "a", NULL, &reason), -ENOSPC);
	cr_assert_eq(atomic_load(&version->pins), 1);
	version_put(version);
	atomic_store(&is_full, false);
	world_await_attempt(&world, "1", 2);
	world_close(&world);
}

static void *remove_soon(void *argument)
{
	struct world *world = argument;

	while (!atomic_load(&settling))
		sleep_ms(1);
	while (world_control(world, "1", "cancel") != 0)
		sleep_ms(1);
	while (runs_remove(world->engine, &world->fixture.caller, "1", NULL) == -EBUSY)
		sleep_ms(1);
	return atomic_load(&settling) ? (void *)1 : NULL;
}

static void fill(char *bytes, size_t size, char with)
{
	memset(bytes, with, size);
	bytes[size] = '\0';
}

/*
 * Between the commit of a value and the word that it is settled, nobody removes the run, in whose
 * place its contents would then be given back twice.
 */
SUPERVISE(a_run_is_not_removed_before_its_values_are_settled)
{
	static char bytes[30001];
	struct world world;
	pthread_t thread;
	void *failed;

	world_open(&world);
	world_deploy(&world, "order", "", script_sleeps);
	fill(bytes, 30000, 'k');
	world_start(&world, "order", "keeper", bytes);
	for (int way = 0; way < 3; way++) {
		if (way > 0) {
			world_start(&world, "order", "1", "small");
			world_await_attempt(&world, "1", 1);
		}
		atomic_store(&settle_ms, 400);
		pthread_create(&thread, NULL, remove_soon, &world);
		if (way == 0)
			world_start(&world, "order", "1", bytes);
		else if (way == 1)
			cr_assert_eq(world_step(&world, "1", "a", NULL, bytes, NULL), 0);
		else
			cr_assert_eq(world_signal(&world, "1", "a", bytes), 0);
		pthread_join(thread, &failed);
		cr_assert_null(failed);
		cr_assert_eq(world_status(&world, "1"), RUN_STATUSES);
		atomic_store(&settle_ms, 0);
		world_touch(&world, "seen/1");
	}
	world_expect_clean(&world);
	world_close(&world);
}

/* ---- the end of the mount ---- */

SUPERVISE(all_attempts_stop_and_all_resume)
{
	struct world world;
	char id[16];

	world_open(&world);
	world_deploy(&world, "order", "", script_waits);
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		world_start(&world, "order", id, "in");
	}
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		world_await_attempt(&world, id, 1);
	}
	engine_stop(world.engine);
	cr_assert_eq(supervisor_running(world.engine), 0);
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		cr_assert_eq(world_status(&world, id), RUN_PENDING);
		expect_history(&world, id, "\"how\":\"stopped\"", 1);
	}
	/* It still serves, and starts no attempt. */
	world_start(&world, "order", "late", "in");
	sleep_ms(50);
	cr_assert_eq(world_status(&world, "late"), RUN_PENDING);
	cr_assert_eq(supervisor_running(world.engine), 0);
	world_remount(&world);
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		world_await_attempt(&world, id, 2);
		world_go(&world, id);
	}
	for (int i = 0; i < 10; i++) {
		snprintf(id, sizeof(id), "r%d", i);
		world_await(&world, id, RUN_COMPLETED);
	}
	world_close(&world);
}

static void *start_many(void *argument)
{
	struct contest *contest = argument;
	char id[16];

	while (!atomic_load(&contest->is_over)) {
		snprintf(id, sizeof(id), "r%d", atomic_fetch_add(&contest->next, 1));
		if (world_try_start(contest->world, &contest->world->fixture.caller, "order", NULL,
				    id, "", NULL) != 0)
			atomic_fetch_add(&contest->failures, 1);
	}
	return NULL;
}

SUPERVISE(stops_while_others_start)
{
	struct world world;
	struct contest contest = {.world = &world};
	pthread_t threads[3];
	int64_t begun;

	world_open(&world);
	world_deploy(&world, "order", "", script_sleeps);
	for (size_t i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, start_many, &contest);
	sleep_ms(300);
	begun = now_ms();
	engine_stop(world.engine);
	cr_assert_lt(now_ms() - begun, 5000);
	cr_assert_eq(supervisor_running(world.engine), 0);
	atomic_store(&contest.is_over, true);
	for (size_t i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(atomic_load(&contest.failures), 0);
	world_expect_clean(&world);
	world_close(&world);
}

SUPERVISE(an_attempt_that_cannot_be_started_is_tried_again)
{
	struct world world;

	world_open(&world);
	attempt_set_holder("/nonexistent/holder");
	world_deploy(&world, "order", "", script_waits);
	world_start(&world, "order", "1", "in");
	sleep_ms(200);
	cr_assert_eq(world_status(&world, "1"), RUN_PENDING);
	cr_assert_eq(supervisor_running(world.engine), 0);
	expect_calm(500);
	attempt_set_holder(getenv("AIONFS_HOLDER"));
	world_await_attempt(&world, "1", 1);
	world_close(&world);
}

/* Without a namespace a workflow can stop its holder, which then ends nobody: we do. */
SUPERVISE(a_holder_that_is_stopped_is_no_obstacle)
{
	struct world world;
	struct caller task;
	char holder[128], command[512];
	int64_t begun;

	world_open(&world);
	snprintf(holder, sizeof(holder), "%s/holder", world.mount);
	snprintf(command, sizeof(command), "cp '%s' '%s'", getenv("AIONFS_HOLDER"), holder);
	cr_assert_eq(system(command), 0);
	world_deploy(
	    &world, "order", "",
	    "#!/bin/sh\nkill -STOP $PPID\necho $AION_ATTEMPT >>$AION_MOUNT/seen/$AION_RUN_ID\n"
	    "exec sleep 1000\n");
	snprintf(command, sizeof(command), "chown -R 65534:65534 '%s' '%s'", world.mount,
		 world.fixture.state);
	if (geteuid() == 0 &&
	    (system(command) != 0 || setgroups(0, NULL) < 0 || setresgid(65534, 65534, 65534) < 0 ||
	     setresuid(65534, 65534, 65534) < 0))
		cr_skip_test("root may not change its user here");
	attempt_set_holder(holder);
	world.fixture.caller.uid = geteuid();
	world.fixture.caller.gid = getegid();
	world.engine->options.owner = geteuid();
	world_start(&world, "order", "1", "in");
	world_start(&world, "order", "2", "in");
	world_await_attempt(&world, "1", 1);
	world_await_attempt(&world, "2", 1);
	task = world_task(&world, "1");
	cr_assert_eq(world_control(&world, "1", "cancel"), 0);
	begun = now_ms();
	while (kill(task.pid, 0) == 0) {
		cr_assert_lt(now_ms() - begun, 20000);
		sleep_ms(10);
	}
	engine_stop(world.engine);
	cr_assert_lt(now_ms() - begun, 40000);
	cr_assert_eq(supervisor_running(world.engine), 0);
	world_close(&world);
}
