/* SPDX-License-Identifier: Apache-2.0 */
/* What is recorded in a run: steps, timers, signals; and those who wait for it. */
#include <errno.h>
#include <pthread.h>

#include "engine/wait.h"
#include "tests/engine/running.h"

#define RECORD(name) Test(record, name, .timeout = 120)

/* Run "1" of an open attempt that records nothing by itself. */
static void open_running(struct world *world)
{
	world_open(world);
	world_deploy(world, "order", ",\"retry\":{\"max_attempts\":3,\"initial_ms\":10}",
		     script_waits);
	world_start(world, "order", "1", "in");
	world_await_attempt(world, "1", 1);
}

/* ---- steps ---- */

RECORD(steps_are_recorded_and_replayed)
{
	struct world world;
	struct caller task;
	struct reason reason = {0};

	open_running(&world);
	cr_assert_eq(world_step(&world, "1", "a", "cmd a", "one", NULL), 0);
	cr_assert_eq(world_step(&world, "1", "b", NULL, "", NULL), 0);
	expect_value(&world, "1", RUN_VALUE_STEP, "a", "one");
	expect_value(&world, "1", RUN_VALUE_STEP, "b", "");
	world_remount(&world);
	world_await_attempt(&world, "1", 2);
	expect_value(&world, "1", RUN_VALUE_STEP, "a", "one");
	task = world_task(&world, "1");
	/* The same way again, without doing it again. */
	cr_assert_eq(step_ask(world.engine, &task, "1", "a", NULL, &reason), 0);
	cr_assert_eq(step_declare(world.engine, &task, "1", "a", "cmd a", 5, &reason), 0);
	step_abandon(world.engine, "1", "a", 1);
	cr_assert_eq(world_step(&world, "1", "b", NULL, "other", &reason), -EEXIST);
	cr_assert_str_eq(reason.code, "step_exists");
	expect_value(&world, "1", RUN_VALUE_STEP, "b", "");
	cr_assert_eq(world_step(&world, "1", "c", "cmd c", "three", &reason), 0);
	expect_history(&world, "1", "StepRecorded", 3);
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	world_expect_clean(&world);
	world_close(&world);
}

static void expect_outsider(struct world *world, const struct caller *caller)
{
	struct reason reason = {0};
	int fd = world_memory("x", 1);

	cr_assert_eq(step_check_caller(world->engine, caller, "1", &reason), -EPERM);
	cr_assert_str_eq(reason.code, "attempt_required");
	cr_assert_eq(step_ask(world->engine, caller, "1", "s", NULL, &reason), -EPERM);
	cr_assert_eq(step_declare(world->engine, caller, "1", "s", "c", 1, &reason), -EPERM);
	cr_assert_eq(step_record(world->engine, caller, "1", "s", fd, 1, &reason), -EPERM);
	cr_assert_eq(timer_arm(world->engine, caller, "1", "s", "1s", 2, &reason), -EPERM);
	close(fd);
}

RECORD(nobody_but_the_attempt_may)
{
	struct caller task, other;
	struct reason reason = {0};
	struct world world;

	open_running(&world);
	world_start(&world, "order", "2", "in");
	world_await_attempt(&world, "2", 1);
	task = world_task(&world, "1");
	other = world_task(&world, "2");
	expect_outsider(&world, &world.fixture.caller);
	expect_outsider(&world, &other);
	other.pid = 0;
	expect_outsider(&world, &other);
	other.pid = 1;
	expect_outsider(&world, &other);
	cr_assert_eq(step_check_caller(world.engine, &task, "1", NULL), 0);
	cr_assert_eq(step_check_caller(world.engine, &task, "3", &reason), -ENOENT);
	cr_assert_eq(step_ask(world.engine, &task, "3", "s", NULL, &reason), -ENOENT);
	/* Fenced: its end is in the history before it is ended. */
	cr_assert_eq(world_control(&world, "1", "pause"), 0);
	expect_outsider(&world, &task);
	cr_assert_eq(world_control(&world, "1", "resume"), 0);
	world_await_attempt(&world, "1", 2);
	expect_outsider(&world, &task);
	expect_history(&world, "1", "StepRecorded", 0);
	world_close(&world);
}

static void expect_violation(struct world *world, int error, const struct reason *reason,
			     const char *part)
{
	char *text;

	cr_assert_eq(error, -EILSEQ, "%d %s", error, reason->message);
	cr_assert_str_eq(reason->code, "determinism_violation");
	cr_assert_not_null(strstr(reason->message, part), "%s", reason->message);
	cr_assert_eq(world_status(world, "1"), RUN_FAILED);
	text = world_error(world, "1");
	cr_assert_not_null(strstr(text, part), "%s", text);
	free(text);
	expect_history(world, "1", "\"how\":\"violated\"", 1);
}

RECORD(another_command_is_a_violation)
{
	struct reason reason = {0};
	struct caller task;
	struct world world;

	open_running(&world);
	cr_assert_eq(world_step(&world, "1", "a", "charge 42", "one", NULL), 0);
	world_remount(&world);
	world_await_attempt(&world, "1", 2);
	task = world_task(&world, "1");
	cr_assert_eq(step_ask(world.engine, &task, "1", "a", NULL, &reason), 0);
	expect_violation(&world,
			 step_declare(world.engine, &task, "1", "a", "charge 43", 9, &reason),
			 &reason, "\"charge 42\" and is asked for as \"charge 43\"");
	cr_assert_eq(step_check_caller(world.engine, &task, "1", NULL), -EPERM);
	expect_value(&world, "1", RUN_VALUE_STEP, "a", "one");
	/* It can go on from what is recorded, with a workflow that behaves. */
	cr_assert_eq(world_control(&world, "1", "retry"), 0);
	world_await_attempt(&world, "1", 3);
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	world_close(&world);
}

RECORD(asking_twice_is_a_violation)
{
	static const char *const ways[] = {"open", "recorded", "replayed"};
	struct reason reason = {0};
	struct caller task;
	struct world world;

	for (size_t way = 0; way < 3; way++) {
		open_running(&world);
		if (way > 0)
			cr_assert_eq(world_step(&world, "1", "a", "cmd", "one", NULL), 0);
		if (way == 2) {
			world_remount(&world);
			world_await_attempt(&world, "1", 2);
		}
		task = world_task(&world, "1");
		if (way != 1)
			cr_assert_eq(step_ask(world.engine, &task, "1", "a", NULL, &reason), 0);
		if (way == 2) {
			cr_assert_eq(step_declare(world.engine, &task, "1", "a", "cmd", 3, &reason),
				     0);
			step_abandon(world.engine, "1", "a", 1);
		}
		expect_violation(&world, step_ask(world.engine, &task, "1", "a", NULL, &reason), &reason,
				 "twice");
		cr_assert_eq(world_status(&world, "1"), RUN_FAILED, "%s", ways[way]);
		world_close(&world);
	}
}

RECORD(recording_twice_is_a_violation)
{
	struct reason reason = {0};
	struct caller task;
	struct world world;
	int fd = world_memory("two", 3);

	open_running(&world);
	cr_assert_eq(world_step(&world, "1", "a", "cmd", "one", NULL), 0);
	task = world_task(&world, "1");
	expect_violation(&world, step_record(world.engine, &task, "1", "a", fd, 3, &reason),
			 &reason, "twice");
	expect_value(&world, "1", RUN_VALUE_STEP, "a", "one");
	world_expect_clean(&world);
	close(fd);
	world_close(&world);
}

RECORD(a_step_that_was_given_up_may_be_asked_for_again)
{
	struct caller task;
	struct world world;
	struct reason reason = {0};
	char *history;

	open_running(&world);
	task = world_task(&world, "1");
	cr_assert_eq(step_ask(world.engine, &task, "1", "a", NULL, &reason), 0);
	cr_assert_eq(step_declare(world.engine, &task, "1", "a", "failed", 6, &reason), 0);
	step_abandon(world.engine, "1", "a", 1);
	step_abandon(world.engine, "1", "a", 1);
	step_abandon(world.engine, "1", "b", 1);
	step_abandon(world.engine, "none", "b", 1);
	cr_assert_eq(step_declare(world.engine, &task, "1", "a", "late", 4, &reason), -ENOENT);
	cr_assert_eq(world_step(&world, "1", "a", NULL, "one", &reason), 0, "%s", reason.message);
	/* What was declared before it was given up is not what was recorded. */
	history = world_history(&world, "1");
	cr_assert_null(strstr(history, "failed"), "%s", history);
	free(history);
	world_close(&world);
}

RECORD(names_commands_and_sizes_have_limits)
{
	char *command = malloc(EVENT_TEXT_MAX + 1);
	struct reason reason = {0};
	struct caller task;
	struct world world;
	int fd = memfd_create("large", MFD_CLOEXEC);

	open_running(&world);
	task = world_task(&world, "1");
	cr_assert_eq(step_ask(world.engine, &task, "1", "a/b", NULL, &reason), -EINVAL);
	cr_assert_str_eq(reason.code, "name_invalid");
	cr_assert_eq(step_ask(world.engine, &task, "1", ".a", NULL, &reason), -EINVAL);
	cr_assert_eq(timer_arm(world.engine, &task, "1", "", "1s", 2, &reason), -EINVAL);
	cr_assert_eq(step_ask(world.engine, &task, "1", "a", NULL, &reason), 0);
	cr_assert_eq(step_declare(world.engine, &task, "1", "a", "a\0b", 3, &reason), -EINVAL);
	memset(command, 'c', EVENT_TEXT_MAX + 1);
	cr_assert_eq(
	    step_declare(world.engine, &task, "1", "a", command, EVENT_TEXT_MAX + 1, &reason),
	    -EINVAL);
	cr_assert_eq(ftruncate(fd, STEP_BYTES_MAX + 1l), 0);
	cr_assert_eq(step_record(world.engine, &task, "1", "a", fd, STEP_BYTES_MAX + 1l, &reason),
		     -EFBIG);
	cr_assert_eq(step_declare(world.engine, &task, "1", "a", command, EVENT_TEXT_MAX, &reason),
		     0);
	cr_assert_eq(step_record(world.engine, &task, "1", "a", fd, 3, &reason), 0, "%s",
		     reason.message);
	/* As long a command, and another one: cut in the message, not on the stack. */
	world_remount(&world);
	world_await_attempt(&world, "1", 2);
	task = world_task(&world, "1");
	command[EVENT_TEXT_MAX - 1] = 'd';
	cr_assert_eq(step_ask(world.engine, &task, "1", "a", NULL, &reason), 0);
	cr_assert_eq(step_declare(world.engine, &task, "1", "a", command, EVENT_TEXT_MAX, &reason),
		     -EILSEQ);
	close(fd);
	free(command);
	world_close(&world);
}

/* ---- timers ---- */

RECORD(timers_are_read_as_they_are_written)
{
	static const struct {
		const char *text;
		int error;
	} cases[] = {
	    {"90s", 0},
	    {"0s", 0},
	    {"15m\n", 0},
	    {"36h\r\n", 0},
	    {"30d", 0},
	    {"@4102444800", 0},
	    {"@0", 0},
	    {"", -EINVAL},
	    {"\n", -EINVAL},
	    {"90", -EINVAL},
	    {"s", -EINVAL},
	    {"-1s", -EINVAL},
	    {"+1s", -EINVAL},
	    {" 1s", -EINVAL},
	    {"1s ", -EINVAL},
	    {"1ss", -EINVAL},
	    {"1w", -EINVAL},
	    {"1.5h", -EINVAL},
	    {"@", -EINVAL},
	    {"@1s", -EINVAL},
	    {"@-1", -EINVAL},
	    {"@9223372037", -EINVAL},
	    {"9223372036854775807s", -EINVAL},
	    {"9223372036854775808s", -EINVAL},
	    {"106751991167301d", -EINVAL},
	    {"9223372036s", -EINVAL},
	    {"9999999999999999999999999999999999999999999999999999999999999999s", -EINVAL},
	};
	struct world world;
	char name[16];

	open_running(&world);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(name, sizeof(name), "t%zu", i);
		cr_assert_eq(world_timer(&world, "1", name, cases[i].text), cases[i].error, "%s",
			     cases[i].text);
	}
	expect_value(&world, "1", RUN_VALUE_TIMER, "t2", "15m\n");
	cr_assert_eq(world_timer(&world, "1", "t0", "90s\n"), 0);
	cr_assert_eq(world_timer(&world, "1", "t0", "91s"), -EEXIST);
	expect_history(&world, "1", "TimerSet", 7);
	world_close(&world);
}

static void await_fired(struct world *world, const char *name)
{
	int64_t until = now_ms() + 20000;

	while (wait_look(world->engine, "1", WAIT_TIMER, name) == -EAGAIN) {
		cr_assert_lt(now_ms(), until, "timer %s does not fire", name);
		sleep_ms(3);
	}
	cr_assert_eq(wait_look(world->engine, "1", WAIT_TIMER, name), 0);
}

RECORD(timers_fire_at_their_time_and_once)
{
	struct run_value_view view;
	struct world world;

	open_running(&world);
	cr_assert_eq(world_timer(&world, "1", "epoch", "@0"), 0);
	await_fired(&world, "epoch");
	cr_assert_eq(world_timer(&world, "1", "one", "1s"), 0);
	cr_assert_eq(world_timer(&world, "1", "now", "0s"), 0);
	cr_assert_eq(world_timer(&world, "1", "never", "1d"), 0);
	await_fired(&world, "now");
	cr_assert_eq(wait_look(world.engine, "1", WAIT_TIMER, "one"), -EAGAIN);
	await_fired(&world, "one");
	cr_assert_eq(runs_find_value(world.engine, "1", RUN_VALUE_TIMER, "one", &view), 0);
	cr_assert(view.is_fired);
	cr_assert_geq(view.at_ns, view.until_ns);
	cr_assert_lt(view.at_ns - view.until_ns, 500000000);
	cr_assert_eq(world_timer(&world, "1", "one", "1s"), 0);
	world_remount(&world);
	world_await_attempt(&world, "1", 2);
	expect_history(&world, "1", "TimerFired", 3);
	cr_assert_eq(wait_look(world.engine, "1", WAIT_TIMER, "never"), -EAGAIN);
	cr_assert_eq(wait_look(world.engine, "1", WAIT_TIMER, "none"), -EAGAIN);
	cr_assert_eq(world_control(&world, "1", "cancel"), 0);
	cr_assert_eq(wait_look(world.engine, "1", WAIT_TIMER, "never"), -ECANCELED);
	cr_assert_eq(wait_look(world.engine, "1", WAIT_TIMER, "one"), 0);
	world_close(&world);
}

RECORD(what_was_due_meanwhile_fires_at_once)
{
	struct world world;
	char name[16];

	open_running(&world);
	/* More than fit into one commit. */
	for (int i = 0; i < 70; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		cr_assert_eq(world_timer(&world, "1", name, "1s"), 0);
	}
	engine_close(world.engine);
	sleep_ms(1100);
	world_mount(&world);
	for (int i = 0; i < 70; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		cr_assert_eq(wait_look(world.engine, "1", WAIT_TIMER, name), 0);
	}
	expect_history(&world, "1", "TimerFired", 70);
	world_close(&world);
}

/* ---- signals ---- */

RECORD(signals_are_delivered_once)
{
	struct caller stranger = {.uid = 4711, .gid = 4711, .pid = getpid()};
	struct reason reason = {0};
	struct world world;
	int fd = memfd_create("large", MFD_CLOEXEC);

	open_running(&world);
	cr_assert_eq(world_signal(&world, "1", "go", "yes"), 0);
	cr_assert_eq(world_signal(&world, "1", "go", "yes"), 0);
	cr_assert_eq(world_signal(&world, "1", "go", "no"), -EEXIST);
	cr_assert_eq(world_signal(&world, "1", "a/b", "yes"), -EINVAL);
	cr_assert_eq(world_signal(&world, "2", "go", "yes"), -ENOENT);
	cr_assert_eq(signal_check(world.engine, &stranger, "1", "x", &reason), -EACCES);
	cr_assert_eq(signal_deliver(world.engine, &stranger, "1", "x", fd, 0, &reason), -EACCES);
	cr_assert_eq(ftruncate(fd, SIGNAL_BYTES_MAX + 1l), 0);
	cr_assert_eq(signal_deliver(world.engine, &world.fixture.caller, "1", "x", fd,
				    SIGNAL_BYTES_MAX + 1l, &reason),
		     -EFBIG);
	cr_assert_eq(signal_deliver(world.engine, &world.fixture.caller, "1", "x", fd,
				    SIGNAL_BYTES_MAX, &reason),
		     0);
	expect_history(&world, "1", "SignalDelivered", 2);
	cr_assert_eq(signal_check(world.engine, &world.fixture.caller, "1", "y", &reason), 0);
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	cr_assert_eq(signal_check(world.engine, &world.fixture.caller, "1", "y", &reason), -EBUSY);
	cr_assert_not_null(strstr(reason.message, "completed"));
	cr_assert_eq(world_signal(&world, "1", "y", ""), -EBUSY);
	cr_assert_eq(world_signal(&world, "1", "go", "yes"), 0);
	expect_value(&world, "1", RUN_VALUE_SIGNAL, "go", "yes");
	world_expect_clean(&world);
	expect_value(&world, "1", RUN_VALUE_SIGNAL, "go", "yes");
	close(fd);
	world_close(&world);
}

static int count_one(void *context, const char *name)
{
	strcat(context, name);
	strcat(context, " ");
	return 0;
}

RECORD(what_was_recorded_is_listed_in_order)
{
	struct world world;
	char names[64] = "";

	open_running(&world);
	cr_assert_eq(world_step(&world, "1", "b", NULL, "", NULL), 0);
	cr_assert_eq(world_signal(&world, "1", "x", ""), 0);
	cr_assert_eq(world_step(&world, "1", "a", NULL, "", NULL), 0);
	cr_assert_eq(runs_each_item(world.engine, "1", ITEM_STEP, count_one, names), 0);
	cr_assert_str_eq(names, "b a ");
	cr_assert_eq(runs_each_item(world.engine, "2", ITEM_STEP, count_one, names), -ENOENT);
	world_close(&world);
}

/* ---- waiters ---- */

struct waiting {
	struct waiter waiter;
	atomic_int readied;
};

static void note_ready(struct waiter *waiter)
{
	atomic_fetch_add(&((struct waiting *)waiter)->readied, 1);
}

static int add(struct world *world, struct waiting *waiting, enum wait_kind kind, const char *name)
{
	*waiting = (struct waiting){.waiter.ready = note_ready};
	return wait_add(world->engine, &waiting->waiter, &world->fixture.caller, "1", kind, name);
}

RECORD(a_waiter_is_told_once)
{
	struct waiting signal, timer, result, gone, other;
	struct world world;

	open_running(&world);
	cr_assert_eq(add(&world, &signal, WAIT_SIGNAL, "go"), 0);
	cr_assert_eq(add(&world, &gone, WAIT_SIGNAL, "go"), 0);
	cr_assert_eq(add(&world, &other, WAIT_SIGNAL, "go2"), 0);
	cr_assert_eq(add(&world, &timer, WAIT_TIMER, "t"), 0);
	cr_assert_eq(add(&world, &result, WAIT_RESULT, NULL), 0);
	cr_assert(wait_remove(world.engine, &gone.waiter));
	cr_assert_not(wait_remove(world.engine, &gone.waiter));
	cr_assert_eq(world_signal(&world, "1", "go", ""), 0);
	cr_assert_eq(atomic_load(&signal.readied), 1);
	cr_assert_not(wait_remove(world.engine, &signal.waiter));
	cr_assert_eq(add(&world, &signal, WAIT_SIGNAL, "go"), -EALREADY);
	cr_assert_eq(world_timer(&world, "1", "t", "0s"), 0);
	await_fired(&world, "t");
	cr_assert_eq(atomic_load(&timer.readied), 1);
	cr_assert_eq(atomic_load(&result.readied), 0);
	cr_assert_eq(atomic_load(&other.readied), 0);
	world_go(&world, "1");
	world_await(&world, "1", RUN_COMPLETED);
	while (!atomic_load(&other.readied) || !atomic_load(&result.readied))
		sleep_ms(1);
	cr_assert_eq(atomic_load(&other.readied), 1);
	cr_assert_eq(wait_look(world.engine, "1", WAIT_SIGNAL, "go2"), -ECANCELED);
	cr_assert_eq(add(&world, &other, WAIT_SIGNAL, "go2"), -EALREADY);
	cr_assert_eq(add(&world, &result, WAIT_RESULT, NULL), -EALREADY);
	cr_assert_eq(atomic_load(&gone.readied), 0);
	cr_assert_eq(
	    wait_add(world.engine, &gone.waiter, &world.fixture.caller, "2", WAIT_RESULT, NULL),
	    -ENOENT);
	cr_assert_eq(wait_look(world.engine, "2", WAIT_RESULT, NULL), -ENOENT);
	world_close(&world);
}

#define ROUNDS 150

struct race {
	struct world *world;
	atomic_int round; /* which signal may be waited for */
	atomic_int failures;
};

/* Waits for each signal in turn, and takes some waits back: told or taken back, never both. */
static void *wait_in_turns(void *argument)
{
	struct race *race = argument;
	struct waiting waiting;
	char name[16];

	for (int i = 0; i < ROUNDS; i++) {
		int error;

		snprintf(name, sizeof(name), "s%d", i);
		error = add(race->world, &waiting, WAIT_SIGNAL, name);
		if (error == 0 && (i % 3) == 0) {
			bool was_listed = wait_remove(race->world->engine, &waiting.waiter);

			if (was_listed == (atomic_load(&waiting.readied) != 0))
				atomic_fetch_add(&race->failures, 1);
			continue;
		}
		while (error == 0 && !atomic_load(&waiting.readied))
			sleep_ms(0);
		if (error && error != -EALREADY)
			atomic_fetch_add(&race->failures, 1);
		if (wait_look(race->world->engine, "1", WAIT_SIGNAL, name) != 0)
			atomic_fetch_add(&race->failures, 1);
	}
	return NULL;
}

RECORD(no_signal_passes_a_waiter_by)
{
	struct world world;
	struct race race = {.world = &world};
	pthread_t threads[4];
	char name[16];

	open_running(&world);
	for (size_t i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, wait_in_turns, &race);
	for (int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		cr_assert_eq(world_signal(&world, "1", name, ""), 0);
	}
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(atomic_load(&race.failures), 0);
	world_close(&world);
}
