/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/engine/attempting.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void sleep_ms(long ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&time, NULL);
}

static void put_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	cr_assert_eq(fchmod(fd, mode), 0);
	close(fd);
}

static void make_directory(const struct stage *stage, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", stage->root, name);
	cr_assert_eq(mkdir(path, 0755), 0, "%s: %s", path, strerror(errno));
}

static void copy_program(const struct stage *stage, const char *original, const char *name,
			 mode_t mode)
{
	struct stat info;
	char path[128];
	int from, to;

	snprintf(path, sizeof(path), "%s/%s", stage->root, name);
	from = open(original, O_RDONLY | O_CLOEXEC);
	cr_assert_geq(from, 0, "%s: %s", original, strerror(errno));
	cr_assert_eq(fstat(from, &info), 0);
	to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	cr_assert_geq(to, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(sendfile(to, from, NULL, (size_t)info.st_size), (ssize_t)info.st_size);
	cr_assert_eq(fchmod(to, mode), 0);
	close(from);
	close(to);
}

/* A copy, for nobody may not be able to reach the build directory. */
static void copy_programs(struct stage *stage)
{
	const char *holder = getenv("AIONFS_HOLDER");

	cr_assert_not_null(holder, "AIONFS_HOLDER names the holder: run me through meson test");
	copy_program(stage, holder, "holder", 0755);
	if (geteuid() == 0 && access("/usr/bin/setpriv", X_OK) == 0)
		copy_program(stage, "/usr/bin/setpriv", "setpriv", 04755);
	snprintf(stage->holder, sizeof(stage->holder), "%s/holder", stage->root);
	attempt_set_holder(stage->holder);
}

static int do_nothing(void *argument)
{
	(void)argument;
	return 0;
}

static bool can_make_namespaces(void)
{
	static char stack[16 << 10];
	int pid = clone(do_nothing, stack + sizeof(stack), CLONE_NEWPID | SIGCHLD, NULL);

	if (pid < 0)
		return false;
	waitpid(pid, NULL, 0);
	return true;
}

static void take_rights(struct stage *stage, enum rights rights)
{
	if (rights == AS_NOBODY && geteuid() == 0) {
		cr_assert_eq(chown(stage->root, NOBODY, NOBODY), 0);
		if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
		    setresuid(NOBODY, NOBODY, NOBODY) < 0)
			cr_skip_test("root may not change its user here: %s", strerror(errno));
	}
	stage->uid = geteuid();
	stage->gid = getegid();
}

void stage_put(struct stage *stage, const char *script)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/packages/demo/%s/bin/run", stage->root,
		 ATTEMPTING_VERSION);
	put_file(path, script, 0755);
}

static void fill(struct stage *stage)
{
	char path[256];

	umask(022);
	make_directory(stage, "packages");
	make_directory(stage, "packages/demo");
	make_directory(stage, "packages/demo/" ATTEMPTING_VERSION);
	make_directory(stage, "packages/demo/" ATTEMPTING_VERSION "/bin");
	make_directory(stage, "runs");
	make_directory(stage, "runs/42");
	make_directory(stage, "state");
	make_directory(stage, "seen");
	snprintf(path, sizeof(path), "%s/seen", stage->root);
	cr_assert_eq(chmod(path, 01777), 0);
	snprintf(path, sizeof(path), "%s/runs/42/input", stage->root);
	put_file(path, "the input\n", 0644);
}

void stage_open(struct stage *stage, enum rights rights, const char *script)
{
	char path[256];

	if (rights == AS_ROOT && (geteuid() != 0 || !can_make_namespaces()))
		cr_skip_test("a PID namespace needs root with CAP_SYS_ADMIN");
	*stage = (struct stage){.root = "/tmp/aionfs-attempt-XXXXXX",
				.output_reader = -1,
				.run_id = "42",
				.function = "run"};
	cr_assert_not_null(mkdtemp(stage->root));
	cr_assert_eq(chmod(stage->root, 0755), 0);
	copy_programs(stage); /* while we may still read them */
	take_rights(stage, rights);
	fill(stage);
	if (script)
		stage_put(stage, script);
	snprintf(path, sizeof(path), "%s/state", stage->root);
	stage->log_directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(stage->log_directory, 0);
	stage->output = openat(stage->log_directory, "output",
			       O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	cr_assert_geq(stage->output, 0);
}

void stage_use_pipe(struct stage *stage)
{
	int ends[2];

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	close(stage->output);
	stage->output = ends[1];
	stage->output_reader = ends[0];
}

int stage_try(struct stage *stage, struct attempt *attempt, struct reason *reason)
{
	struct attempt_spec spec = {.mountpoint = stage->root,
				    .run_id = stage->run_id,
				    .type = "demo",
				    .version = ATTEMPTING_VERSION,
				    .function = stage->function,
				    .number = 7,
				    .uid = stage->uid,
				    .gid = stage->gid,
				    .output = stage->output,
				    .log_directory = stage->log_directory,
				    .log_name = "log"};

	return attempt_start(&spec, attempt, reason);
}

void stage_start(struct stage *stage, struct attempt *attempt)
{
	struct reason reason = {0};

	cr_assert_eq(stage_try(stage, attempt, &reason), 0, "%s", reason.message);
	/* The writing end is the attempt's alone, so that its end can be seen. */
	if (stage->output_reader >= 0) {
		close(stage->output);
		stage->output = -1;
	}
}

struct attempt_end stage_run(struct stage *stage)
{
	struct attempt attempt;
	struct attempt_end end;

	stage_start(stage, &attempt);
	attempt_collect(&attempt, &end);
	return end;
}

struct attempt_end stage_run_script(struct stage *stage, const char *script)
{
	stage_put(stage, script);
	if (stage->output_reader < 0)
		cr_assert_eq(ftruncate(stage->output, 0), 0);
	return stage_run(stage);
}

char *stage_read(struct stage *stage, const char *name)
{
	char path[256], *text;
	struct stat info = {0};
	int fd;

	snprintf(path, sizeof(path), "%s/%s", stage->root, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return strdup("");
	cr_assert_eq(fstat(fd, &info), 0);
	text = calloc(1, (size_t)info.st_size + 1);
	cr_assert_not_null(text);
	cr_assert_eq(read(fd, text, (size_t)info.st_size), (ssize_t)info.st_size);
	close(fd);
	return text;
}

bool stage_is_empty(struct stage *stage, int patience_ms)
{
	struct pollfd wait = {.fd = stage->output_reader};

	return poll(&wait, 1, patience_ms) == 1 && (wait.revents & POLLHUP) != 0;
}

void stage_await(struct stage *stage, const char *name, const char *text)
{
	for (int i = 0; i < 3000; i++) {
		char *seen = stage_read(stage, name);
		bool found = strstr(seen, text) != NULL;

		free(seen);
		if (found)
			return;
		sleep_ms(10);
	}
	cr_assert_fail("no \"%s\" in %s", text, name);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
	(void)info;
	(void)type;
	(void)where;
	return remove(path);
}

void stage_close(struct stage *stage)
{
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1);
	cr_assert_eq(errno, ECHILD);
	if (stage->output >= 0)
		close(stage->output);
	if (stage->output_reader >= 0)
		close(stage->output_reader);
	close(stage->log_directory);
	nftw(stage->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
