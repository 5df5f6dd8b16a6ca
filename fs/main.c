/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program: a table of commands. Under the name mount.aionfs (or mount.fuse.aionfs) it is the
 * helper that mount(8) calls for fstab lines.
 */
#include <fcntl.h>
#include <getopt.h>
#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/commands.h"
#include "fs/say.h"

static const struct command *const commands[] = {
    &command_mount, &command_stop, &command_pack,  &command_hash, &command_list,
    &command_fsck,  &command_step, &command_sleep, &command_wait,
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(*commands))

static void print_help(void)
{
	puts("Usage: aionfs COMMAND [ARGUMENTS]\n"
	     "\n"
	     "A filesystem that is a deploy target and a workflow engine: an archive copied into "
	     "it\n"
	     "becomes an immutable version, a symbolic link says which version is current, and an\n"
	     "input copied into it starts a durable run of that version.\n"
	     "\n"
	     "Commands:");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		printf("  %-6s  %s\n", commands[i]->name, commands[i]->summary);
	puts("\n"
	     "  aionfs COMMAND --help    more about one command\n"
	     "  aionfs --version         the version of this program\n"
	     "\n"
	     "Exit codes: 0 done; 1 refused or failed (fsck: something is damaged); 2 the command\n"
	     "line makes no sense (fsck: it could not look); step: those of its command, too.\n"
	     "The manual is aionfs(1).");
}

int command_usage(const struct command *command)
{
	say("usage: aionfs %s %s (see aionfs %s --help)", command->name, command->arguments,
	    command->name);
	return EXIT_USAGE;
}

void command_help(const struct command *command)
{
	printf("Usage: aionfs %s %s\n\n%s\n\n%s", command->name, command->arguments,
	       command->summary, command->details);
}

static void tell_option(const struct command *command, int letter, char **argv)
{
	if (letter == ':')
		say("%s: -%c needs a value", command->name, optopt);
	else if (optopt)
		say("%s: there is no option -%c", command->name, optopt);
	else
		say("%s: there is no option %s", command->name, argv[optind - 1]);
}

int command_options(const struct command *command, int argc, char **argv, const char *options,
		    int (*take)(void *context, int letter, char *value), void *context,
		    int *ret_first, int *ret_code)
{
	static const struct option help[] = {{"help", no_argument, NULL, 'h'}, {0}};
	char letters[32];
	int letter;

	/* ':' first: getopt stays silent and tells a missing value from an unknown letter. */
	snprintf(letters, sizeof(letters), ":h%s", options);
	optind = 1;
	while ((letter = getopt_long(argc, argv, letters, help, NULL)) != -1) {
		if (letter == 'h') {
			command_help(command);
			*ret_code = say_finish(EXIT_DONE);
			return 1;
		}
		if (letter == '?' || letter == ':') {
			tell_option(command, letter, argv);
			*ret_code = command_usage(command);
			return 1;
		}
		*ret_code = take ? take(context, letter, optarg) : EXIT_DONE;
		if (*ret_code != EXIT_DONE)
			return 1;
	}
	*ret_first = optind;
	return 0;
}

static int run_command(int argc, char **argv)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (strcmp(argv[1], commands[i]->name) == 0)
			return commands[i]->run(argc - 1, argv + 1);
	}
	say("there is no command %s (see aionfs --help)", argv[1]);
	return EXIT_USAGE;
}

/*
 * A standard descriptor that the caller closed must not become a file of the store: messages would
 * be written into it. What takes its place is open the wrong way round, so that its use still
 * fails.
 */
static bool fill_standard_descriptors(void)
{
	for (int number = STDIN_FILENO; number <= STDERR_FILENO; number++) {
		int flags = number == STDIN_FILENO ? O_WRONLY : O_RDONLY;

		if (fcntl(number, F_GETFD) < 0 && open("/dev/null", flags) != number)
			return false;
	}
	return true;
}

#ifdef __SANITIZE_ADDRESS__
/*
 * The check for leaks looks for itself in /proc, which in an attempt is not of its pid namespace.
 * Whoever wants it says so in ASAN_OPTIONS; attempts have no such variable.
 */
const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

int main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "";

	if (!fill_standard_descriptors())
		return EXIT_FAILED;
	setlocale(LC_CTYPE, "C.UTF-8");
	if (strcmp(name, "mount.aionfs") == 0 || strcmp(name, "mount.fuse.aionfs") == 0)
		return command_mount_helper(argc, argv);
	if (argc < 2) {
		say("tell me what to do: aionfs COMMAND (see aionfs --help)");
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("aionfs " AIONFS_VERSION);
		return say_finish(EXIT_DONE);
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_help();
		return say_finish(EXIT_DONE);
	}
	return run_command(argc, argv);
}
