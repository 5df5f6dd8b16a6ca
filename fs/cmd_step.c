/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `aionfs step`: runs a command once in a run's life and prints what it printed, ever after. The
 * way of a step, by files:
 *
 *     open steps/.NAME        asks for the step
 *     its xattr               declares the command, which is compared with the recorded one
 *     steps/NAME is there     replay: steps/.NAME is removed, nothing is executed
 *     else                    the command writes into steps/.NAME; a rename records it, durably
 *
 * Invariant: steps/.NAME is renamed only after the command ended with 0, and removed on every other
 * way out, also when we are told to end: the signals that do are passed on to the command
 * meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/client.h"
#include "fs/commands.h"
#include "fs/say.h"

/* The end of an attempt that must not be tried again. */
#define EXIT_FOR_GOOD 100

/* As shells have it. */
#define EXIT_CANNOT_EXECUTE 126
#define EXIT_NOT_FOUND 127
#define EXIT_SIGNALED 128

extern char **environ;

struct step {
	struct client client;
	const char *name;
	char **argv;   /* the command */
	char *draft;   /* steps/.NAME */
	char *record;  /* steps/NAME */
	char *text;    /* the command as it is declared */
	int fd;	       /* of the draft */
	bool is_asked; /* the draft is ours to remove */
	sigset_t old_mask;
};

/* ---- the command as a text ---- */

static bool is_plain(const char *argument)
{
	return argument[0] && argument[strspn(argument, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
							"abcdefghijklmnopqrstuvwxyz"
							"0123456789_@%+=:,./-")] == '\0';
}

static void put_argument(FILE *out, const char *argument)
{
	if (is_plain(argument)) {
		fputs(argument, out);
		return;
	}
	fputc('\'', out);
	for (const char *at = argument; *at; at++) {
		if (*at == '\'')
			fputs("'\\''", out);
		else
			fputc(*at, out);
	}
	fputc('\'', out);
}

/* As one would type it into a shell. Returns NULL without memory. */
static char *make_text(char **argv)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (!out)
		return NULL;
	for (size_t i = 0; argv[i]; i++) {
		if (i > 0)
			fputc(' ', out);
		put_argument(out, argv[i]);
	}
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* ---- asking ---- */

static int tell_violation(const struct step *step)
{
	char text[CLIENT_ERROR_ROOM];

	client_error(&step->client, text);
	if (text[0])
		say("step: %s", text);
	else
		say("step: determinism violation: step \"%s\" was asked for twice, or with another "
		    "command than the recorded one",
		    step->name);
	return EXIT_FOR_GOOD;
}

static int fail(const struct step *step, int error)
{
	const char *name = step->name;

	switch (error) {
	case EILSEQ:
		return tell_violation(step);
	case EPERM:
		say("step: this is not a process of the current attempt of %s, which alone may "
		    "record step \"%s\"",
		    step->client.run, name);
		return EXIT_FAILED;
	case EINVAL:
	case ENAMETOOLONG:
		say("step: \"%s\" can't be a name: 1 to 254 bytes of UTF-8, no control characters, "
		    "no leading dot",
		    name);
		return EXIT_FAILED;
	case E2BIG:
		say("step: the command of step \"%s\" has more than 64 KiB; put what is long into "
		    "a file",
		    name);
		return EXIT_FAILED;
	case EFBIG:
		say("step: the output of step \"%s\" has more than 64 MiB", name);
		return EXIT_FAILED;
	default:
		say("step: step \"%s\" of %s: %s", name, step->client.run, strerror(error));
		return EXIT_FAILED;
	}
}

static int ask(struct step *step)
{
	step->fd = open(step->draft, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (step->fd < 0 && errno == EEXIST) {
		say("step: step \"%s\" is being executed already: %s is there; a step's name "
		    "stands for one result, so number them in a loop",
		    step->name, step->draft);
		return EXIT_FAILED;
	}
	if (step->fd < 0)
		return fail(step, errno);
	step->is_asked = true;
	if (fsetxattr(step->fd, "user.aionfs.command", step->text, strlen(step->text), 0) != 0)
		return fail(step, errno);
	return EXIT_DONE;
}

static void give_up(struct step *step)
{
	if (step->is_asked)
		(void)unlink(step->draft);
	step->is_asked = false;
}

/* Returns false when the step is not recorded yet, or that can't be found out, which is told. */
static bool open_record(const struct step *step, int *ret_fd, int *ret_code)
{
	*ret_code = EXIT_DONE;
	*ret_fd = open(step->record, O_RDONLY | O_CLOEXEC);
	if (*ret_fd < 0 && errno != ENOENT)
		*ret_code = fail(step, errno);
	return *ret_fd >= 0;
}

static int print_record(const struct step *step, int fd)
{
	bool is_told;
	int error = client_print(&step->client, fd, &is_told);

	close(fd);
	if (error && !is_told)
		return fail(step, -error);
	return error ? EXIT_FAILED : EXIT_DONE;
}

/* ---- executing ---- */

static const int passed_on[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

/* From here on these signals are told to us by sigwaitinfo, so that none ends us in between. */
static void hold_signals(struct step *step)
{
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t held;

	/* Who ignores its children's end can't learn of it. */
	(void)sigaction(SIGCHLD, &action, NULL);
	sigemptyset(&held);
	sigaddset(&held, SIGCHLD);
	for (size_t i = 0; i < sizeof(passed_on) / sizeof(*passed_on); i++)
		sigaddset(&held, passed_on[i]);
	sigprocmask(SIG_BLOCK, &held, &step->old_mask);
}

static int spawn(const struct step *step, pid_t *ret_child)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int error;

	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attributes);
	error = posix_spawn_file_actions_adddup2(&actions, step->fd, STDOUT_FILENO);
	if (!error)
		error = posix_spawnattr_setsigmask(&attributes, &step->old_mask);
	if (!error)
		error = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	if (!error)
		error = posix_spawnp(ret_child, step->argv[0], &actions, &attributes, step->argv,
				     environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

/* Waits for the command's end and passes signals on. Returns its status, as waitpid gives it. */
static int watch(pid_t child)
{
	sigset_t held;
	int status = EXIT_NOT_FOUND << 8, signal;

	sigprocmask(SIG_BLOCK, NULL, &held);
	while (waitpid(child, &status, WNOHANG) == 0) {
		signal = sigwaitinfo(&held, NULL);
		for (size_t i = 0; i < sizeof(passed_on) / sizeof(*passed_on); i++) {
			if (signal == passed_on[i])
				(void)kill(child, signal);
		}
	}
	return status;
}

/* Executes the command. Returns its exit code, or a shell's for one that did not get so far. */
static int execute(const struct step *step)
{
	pid_t child;
	int status, error = spawn(step, &child);

	if (error) {
		say("step: %s can't be executed: %s", step->argv[0], strerror(error));
		return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE;
	}
	status = watch(child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_SIGNALED + WTERMSIG(status);
}

static int execute_and_record(struct step *step)
{
	int code = execute(step);

	if (code != 0)
		return code;
	if (rename(step->draft, step->record) != 0)
		return fail(step, errno);
	step->is_asked = false;
	return EXIT_DONE;
}

/* With the signals held. *ret_record is open when there is something to print. */
static int perform(struct step *step, int *ret_record)
{
	int code = ask(step);

	if (code)
		return code;
	if (open_record(step, ret_record, &code) || code)
		return code;
	code = execute_and_record(step);
	if (!code && !open_record(step, ret_record, &code) && !code)
		code = fail(step, ENOENT);
	return code;
}

static int run(struct step *step)
{
	int record = -1, code;

	hold_signals(step);
	code = perform(step, &record);
	give_up(step);
	if (step->fd >= 0)
		close(step->fd);
	/* What came meanwhile ends us here. */
	sigprocmask(SIG_SETMASK, &step->old_mask, NULL);
	return record >= 0 ? print_record(step, record) : code;
}

static int run_step(int argc, char **argv)
{
	struct step step = {.fd = -1};
	int code = EXIT_FAILED;

	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		command_help(&command_step);
		return say_finish(EXIT_DONE);
	}
	/* Not getopt's way: what looks like an option behind the name is the command's. */
	if (argc < 4 || strcmp(argv[2], "--") != 0)
		return command_usage(&command_step);
	step.name = argv[1];
	step.argv = argv + 3;
	if (!client_open(&step.client, "step", NULL) || !client_check_name(&step.client, step.name))
		return EXIT_FAILED;
	step.draft = client_path(&step.client, "steps", ".", step.name);
	step.record = client_path(&step.client, "steps", "", step.name);
	step.text = make_text(step.argv);
	if (step.draft && step.record && step.text)
		code = run(&step);
	free(step.draft);
	free(step.record);
	free(step.text);
	return code;
}

const struct command command_step = {
    .name = "step",
    .arguments = "NAME -- COMMAND [ARGUMENT...]",
    .summary = "in a workflow: execute a command once, and replay what it printed",
    .details =
	"Executes COMMAND, records what it prints on stdout as step NAME of the run, and prints "
	"it.\n"
	"When the step is recorded already, prints what is recorded and executes nothing.\n"
	"A command that fails records nothing, prints nothing, and its exit code is this one's\n"
	"(128 + N when signal N ended it, 127 when it was not found). It gets this command's\n"
	"stdin and stderr.\n"
	"\n"
	"A name stands for one command and one result in a run: another command under a recorded\n"
	"name, or a name that an attempt asks for twice, fails the run (exit code 100).\n"
	"\n"
	"What was recorded is durable when this returns. If the machine or an attempt dies after\n"
	"the command and before its record, the command is executed again: at least once, then.\n",
    .run = run_step,
};
