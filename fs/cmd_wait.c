/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `aionfs wait`: reads a file of wait/, which is held until there is something to read, and prints
 * it. Of use to workflows, and from outside.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/client.h"
#include "fs/commands.h"
#include "fs/say.h"

static const struct subject {
	const char *word;
	const char *directory;
	bool has_name;
	bool is_printed;
} subjects[] = {
    {"result", "wait", false, true},
    {"signal", "wait/signals", true, true},
    {"timer", "wait/timers", true, false},
};

struct wish {
	struct client client;
	const struct subject *subject;
	const char *name;
};

static const struct subject *find_subject(const char *word)
{
	for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++) {
		if (strcmp(subjects[i].word, word) == 0)
			return &subjects[i];
	}
	return NULL;
}

static const char *describe_end(int error)
{
	switch (error) {
	case EIO:
		return "it failed";
	case ECANCELED:
		return "it was cancelled";
	case ETIMEDOUT:
		return "it timed out";
	default:
		return NULL;
	}
}

static int fail_result(const struct wish *wish, int error)
{
	const char *run = wish->client.run, *end = describe_end(error);
	char text[CLIENT_ERROR_ROOM];

	if (!end)
		say("wait: the result of %s: %s", run, strerror(error));
	else if (client_error(&wish->client, text)[0])
		say("wait: %s has no result: %s: %s", run, end, text);
	else
		say("wait: %s has no result: %s", run, end);
	return EXIT_FAILED;
}

static int fail(const struct wish *wish, int error)
{
	const char *word = wish->subject->word, *run = wish->client.run;

	if (!wish->subject->has_name)
		return fail_result(wish, error);
	if (error == ECANCELED)
		say("wait: %s ended without %s \"%s\"", run, word, wish->name);
	else
		say("wait: %s \"%s\" of %s: %s", word, wish->name, run, strerror(error));
	return EXIT_FAILED;
}

/* A timer's text says nothing that the caller does not know. Returns -errno. */
static int read_away(int fd)
{
	char text[128];
	ssize_t got;

	do
		got = read(fd, text, sizeof(text));
	while (got > 0 || (got < 0 && errno == EINTR));
	return got < 0 ? -errno : 0;
}

static int await(const struct wish *wish)
{
	char *path = client_path(&wish->client, wish->subject->directory, "", wish->name);
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1, error = fd < 0 ? -errno : 0;
	bool is_told = !path;

	free(path);
	if (!error)
		error = wish->subject->is_printed ? client_print(&wish->client, fd, &is_told)
						  : read_away(fd);
	if (fd >= 0)
		close(fd);
	if (error && !is_told)
		return fail(wish, -error);
	return error ? EXIT_FAILED : EXIT_DONE;
}

static int take_option(void *context, int letter, char *value)
{
	(void)letter;
	*(const char **)context = value;
	return EXIT_DONE;
}

static int run_wait(int argc, char **argv)
{
	struct wish wish = {.name = "result"};
	const char *run = NULL;
	int first, code, count;

	if (command_options(&command_wait, argc, argv, "r:", take_option, &run, &first, &code))
		return code;
	argv += first;
	count = argc - first;
	wish.subject = count > 0 ? find_subject(argv[0]) : NULL;
	if (!wish.subject || count < 1 + wish.subject->has_name ||
	    count > 2 + wish.subject->has_name || (run && count > 1 + wish.subject->has_name))
		return command_usage(&command_wait);
	if (wish.subject->has_name)
		wish.name = argv[1];
	if (count > 1 + wish.subject->has_name)
		run = argv[1 + wish.subject->has_name];
	if (!client_open(&wish.client, "wait", run) ||
	    (wish.subject->has_name && !client_check_name(&wish.client, wish.name)))
		return EXIT_FAILED;
	return await(&wish);
}

const struct command command_wait = {
    .name = "wait",
    .arguments = "[-r RUN] result|signal NAME|timer NAME [RUN]",
    .summary = "wait for a run's result, a signal or a timer, and print it",
    .details =
	"Returns when it is there, and prints a result's or a signal's bytes. RUN is the run's\n"
	"directory, /mnt/aion/runs/42; in a workflow it is the workflow's own when left out.\n"
	"\n"
	"  result         the result. When the run ended without one (failed, cancelled, timed\n"
	"                 out): a message, the run's error, and exit code 1\n"
	"  signal NAME    what somebody wrote to signals/NAME\n"
	"  timer NAME     nothing; waits until the timer has fired\n",
    .run = run_wait,
};
