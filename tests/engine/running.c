/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/engine/running.h"

#include <errno.h>
#include <stdarg.h>
#include <time.h>

#include "engine/attempt.h"
#include "engine/clock.h"
#include "engine/fsck.h"
#include "engine/process.h"

#define PATIENCE_MS 60000

const char script_waits[] = "#!/bin/sh\n"
			    "echo $AION_ATTEMPT >>$AION_MOUNT/seen/$AION_RUN_ID\n"
			    "while [ ! -e $AION_MOUNT/seen/$AION_RUN_ID.go ]; do sleep 0.02; done\n"
			    "cat\n";

const char script_sleeps[] = "#!/bin/sh\n"
			     "echo $AION_ATTEMPT >>$AION_MOUNT/seen/$AION_RUN_ID\n"
			     "exec sleep 1000\n";

void sleep_ms(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

int64_t now_ms(void)
{
	return clock_monotonic_ns() / 1000000;
}

static void make_directory(struct world *world, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", world->mount, name);
	if (mkdir(path, 0755) < 0)
		cr_assert_eq(errno, EEXIST, "%s", path);
}

static void put_file(struct world *world, const char *name, const char *bytes, size_t size,
		     mode_t mode)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", world->mount, name);
	/* Never written in place: somebody may be executing it. */
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	cr_assert_eq(fchmod(fd, mode), 0);
	close(fd);
}

void world_mount(struct world *world)
{
	fixture_mount(&world->fixture);
	world->engine = world->fixture.engine;
}

void world_open(struct world *world)
{
	*world = (struct world){.mount = "/tmp/aionfs-mount-XXXXXX"};
	world->fixture = (struct fixture){.state = "/tmp/aionfs-test-XXXXXX"};
	cr_assert_not_null(mkdtemp(world->mount));
	cr_assert_not_null(mkdtemp(world->fixture.state));
	cr_assert_eq(chmod(world->mount, 0755), 0);
	make_directory(world, "packages");
	make_directory(world, "runs");
	make_directory(world, "seen");
	world->fixture.options = (struct engine_options){
	    .state = world->fixture.state, .owner = getuid(), .mountpoint = world->mount};
	world->fixture.caller = (struct caller){.uid = getuid(), .gid = getgid(), .pid = getpid()};
	decoder_set_program(getenv("AIONFS_DECODER"));
	attempt_set_holder(getenv("AIONFS_HOLDER"));
	world_mount(world);
}

void world_remount(struct world *world)
{
	engine_close(world->engine);
	world_mount(world);
}

void world_close(struct world *world)
{
	engine_close(world->engine);
	nftw(world->fixture.state, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
	nftw(world->mount, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- packages ---- */

struct digest world_put(struct world *world, enum box box, const char *type, const char *more,
			const char *script)
{
	struct reason reason = {0};
	struct receipt receipt;
	struct digest digest;
	char text[512], *version;
	int file = memfd_create("archive", MFD_CLOEXEC), error;

	snprintf(text, sizeof(text), "{\"entry_module\":\"%s\"%s}", type, more);
	fixture_tar_entry(file, "manifest.json", text, strlen(text), 0644);
	if (script)
		fixture_tar_entry(file, "bin/run", script, strlen(script), 0755);
	fixture_archive_end(file);
	error = fixture_deploy_file(&world->fixture, file, box, type, &reason);
	cr_assert_eq(error, 0, "deploy: %s: %s", reason.code, reason.message);
	cr_assert_eq(receipt_get(world->engine, box, type, &receipt), 0);
	version = strstr(receipt.text, "\"version\":\"");
	cr_assert_not_null(version, "%s", receipt.text);
	cr_assert_eq(digest_parse(version + 11, DIGEST_HEX, &digest), 0);
	free(receipt.text);

	snprintf(text, sizeof(text), "packages/%s", type);
	make_directory(world, text);
	digest_hex(&digest, text + strlen(text) + 1);
	text[strlen(text)] = '/';
	make_directory(world, text);
	strcat(text, "/bin");
	make_directory(world, text);
	strcat(text, "/run");
	if (script)
		put_file(world, text, script, strlen(script), 0755);
	return digest;
}

struct digest world_deploy(struct world *world, const char *type, const char *more,
			   const char *script)
{
	return world_put(world, BOX_DEPLOY, type, more, script);
}

/* ---- starting ---- */

int world_memory(const char *bytes, size_t size)
{
	int fd = memfd_create("bytes", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	return fd;
}

int world_try_start(struct world *world, const struct caller *caller, const char *type,
		    const struct digest *version, const char *id, const char *input,
		    struct reason *reason)
{
	struct reason own = {0};
	struct run_view view;
	char name[256];
	int fd = world_memory(input, strlen(input)), error;

	/* What the mount would show; of a run that is there, it stays. */
	if (runs_view(world->engine, id, &view) != 0 && strlen(id) < 200 && !strchr(id, '/')) {
		snprintf(name, sizeof(name), "runs/%s", id);
		make_directory(world, name);
		strcat(name, "/input");
		put_file(world, name, input, strlen(input), 0644);
	}
	error = start_run(world->engine, caller, type, version, id, fd, strlen(input),
			  reason ? reason : &own);
	close(fd);
	return error;
}

void world_start(struct world *world, const char *type, const char *id, const char *input)
{
	struct reason reason = {0};
	int error = world_try_start(world, &world->fixture.caller, type, NULL, id, input, &reason);

	cr_assert_eq(error, 0, "start %s: %s: %s", id, reason.code, reason.message);
}

/* ---- waiting ---- */

enum run_status world_status(struct world *world, const char *id)
{
	struct run_view view;

	return runs_view(world->engine, id, &view) == 0 ? view.status : RUN_STATUSES;
}

void world_await(struct world *world, const char *id, enum run_status status)
{
	int64_t until = now_ms() + PATIENCE_MS;
	char *history;

	while (world_status(world, id) != status) {
		if (now_ms() < until) {
			sleep_ms(3);
			continue;
		}
		history = world_history(world, id);
		cr_assert_fail("run %s is %s and not %s:\n%s", id,
			       run_status_name(world_status(world, id)), run_status_name(status),
			       history);
	}
}

char *world_read(struct world *world, const char *name)
{
	char path[512], *text;
	struct stat info = {0};
	int fd;

	snprintf(path, sizeof(path), "%s/%s", world->mount, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return strdup("");
	cr_assert_eq(fstat(fd, &info), 0);
	text = calloc(1, (size_t)info.st_size + 1);
	cr_assert_not_null(text);
	cr_assert_geq(read(fd, text, (size_t)info.st_size), 0);
	close(fd);
	return text;
}

void world_await_attempt(struct world *world, const char *id, uint32_t number)
{
	int64_t until = now_ms() + PATIENCE_MS;
	char name[256], wanted[16];
	struct run_view view;
	bool found = false;

	snprintf(name, sizeof(name), "seen/%s", id);
	snprintf(wanted, sizeof(wanted), "%u\n", number);
	while (!found) {
		char *text = world_read(world, name);

		/* The script may be faster than the event. */
		found = strstr(text, wanted) && runs_view(world->engine, id, &view) == 0 &&
			view.attempt >= number;
		cr_assert_lt(now_ms(), until, "attempt %u of %s: %s", number, id, text);
		free(text);
		if (!found)
			sleep_ms(3);
	}
}

void world_touch(struct world *world, const char *format, ...)
{
	char name[256];
	va_list values;

	va_start(values, format);
	vsnprintf(name, sizeof(name), format, values);
	va_end(values);
	put_file(world, name, "", 0, 0644);
}

void world_go(struct world *world, const char *id)
{
	world_touch(world, "seen/%s.go", id);
}

/* ---- as a process of the attempt ---- */

static pid_t holder_of(struct world *world, const char *id)
{
	struct run *run = runs_find(world->engine, id);
	pid_t holder = 0;

	if (!run)
		return 0;
	pthread_mutex_lock(&run->lock);
	if (run->state.has_attempt && run->process)
		holder = run->process->attempt.holder;
	pthread_mutex_unlock(&run->lock);
	run_put(run);
	return holder;
}

struct caller world_task(struct world *world, const char *id)
{
	struct caller caller = world->fixture.caller;
	int64_t until = now_ms() + PATIENCE_MS;

	for (;;) {
		pid_t holder = holder_of(world, id);

		if (holder > 0 && process_descendants(holder, &caller.pid, 1) == 1)
			return caller;
		cr_assert_lt(now_ms(), until, "run %s has no process", id);
		sleep_ms(3);
	}
}

int world_step(struct world *world, const char *id, const char *name, const char *command,
	       const char *result, struct reason *reason)
{
	struct caller task = world_task(world, id);
	int fd = world_memory(result, strlen(result)), error;

	error = step_ask(world->engine, &task, id, name, NULL, reason);
	if (!error && command)
		error =
		    step_declare(world->engine, &task, id, name, command, strlen(command), reason);
	if (!error)
		error = step_record(world->engine, &task, id, name, fd, strlen(result), reason);
	close(fd);
	return error;
}

int world_timer(struct world *world, const char *id, const char *name, const char *text)
{
	struct caller task = world_task(world, id);
	struct reason reason = {0};

	return timer_arm(world->engine, &task, id, name, text, strlen(text), &reason);
}

int world_signal(struct world *world, const char *id, const char *name, const char *bytes)
{
	struct reason reason = {0};
	int fd = world_memory(bytes, strlen(bytes)), error;

	error = signal_deliver(world->engine, &world->fixture.caller, id, name, fd, strlen(bytes),
			       &reason);
	close(fd);
	return error;
}

int world_control(struct world *world, const char *id, const char *command)
{
	struct reason reason = {0};

	return control_run(world->engine, &world->fixture.caller, id, command, strlen(command),
			   &reason);
}

/* ---- looking ---- */

char *world_history(struct world *world, const char *id)
{
	size_t length;
	char *text;

	return runs_history(world->engine, id, &text, &length) == 0 ? text : strdup("none\n");
}

size_t count_of(const char *text, const char *part)
{
	size_t count = 0;

	for (; (text = strstr(text, part)); text += strlen(part))
		count++;
	return count;
}

void expect_history(struct world *world, const char *id, const char *part, size_t count)
{
	char *text = world_history(world, id);

	cr_assert_eq(count_of(text, part), count, "%zu times %s in\n%s", count_of(text, part), part,
		     text);
	free(text);
}

void expect_value(struct world *world, const char *id, enum run_value value, const char *name,
		  const char *text)
{
	struct run_value_view view, found;
	char *bytes;
	int error = runs_read_value(world->engine, id, value, name, &view, &bytes);

	cr_assert_eq(error, 0, "%s %s: %s", id, name ? name : "", strerror(-error));
	cr_assert_not_null(bytes);
	cr_assert_eq(view.bytes, strlen(text), "%s", bytes);
	cr_assert_str_eq(bytes, text);
	cr_assert_eq(runs_find_value(world->engine, id, value, name, &found), 0);
	cr_assert_eq(found.bytes, view.bytes);
	free(bytes);
}

char *world_error(struct world *world, const char *id)
{
	size_t length;
	char *text;

	return runs_error(world->engine, id, &text, &length) == 0 ? text : strdup("");
}

static void print_finding(void *context, const struct reason *reason)
{
	(void)context;
	fprintf(stderr, "fsck: %s: %s\n", reason->code, reason->message);
}

void world_expect_clean(struct world *world)
{
	struct fsck_watcher watcher = {.finding = print_finding};
	struct fsck_totals totals;
	struct reason reason = {0};

	engine_close(world->engine);
	cr_assert_eq(fsck_state(world->fixture.state, &watcher, &totals, &reason), 0, "%s",
		     reason.message);
	cr_assert_eq(totals.findings, 0);
	world_mount(world);
}
