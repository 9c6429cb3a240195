/* Programs that are started: from memory, out of the protected volume, or by way of one that lies there. */
#include <elf.h>
#include <sys/mman.h>

#include "attacker.h"

#define SECRET SAFE "/secret"

/* A program in memory that belongs to no directory. */
static int in_memory(void)
{
	char buffer[65536];
	int memory = need(memfd_create("program", 0), "memfd_create"), own = need(open("/proc/self/exe", O_RDONLY), "itself");
	ssize_t n;

	while ((n = read(own, buffer, sizeof(buffer))) > 0)
		need(write(memory, buffer, n), "memfd");
	return memory;
}

static void way_memfd(void)
{
	const char *words[] = {"attacker", "open", path("%d", report), SECRET, "memfd", 0};

	attempt(fexecve(in_memory(), (char **)words, environ));
}

/* A program (speaker.c) that lies in the protected volume, named as the way is. It says that it ran. */
static void start_program(const char *name)
{
	const char *words[] = {"speaker", path("%d", report), 0};

	attempt(execv(name, (char **)words));
}

static void way_exec(void) { start_program(SAFE "/exec"); }

static void way_execveat(void)
{
	const char *words[] = {"speaker", path("%d", report), 0};
	int file = attempt(open(SAFE "/execveat", O_PATH));

	attempt(syscall(SYS_execveat, file, "", words, environ, AT_EMPTY_PATH));
}

/* A script of our own, whose interpreter is the protected program. Its name becomes the comm. */
static void way_script(void)
{
	int script = need(open("/tmp/script-program", O_CREAT | O_TRUNC | O_WRONLY, 0700), "script");

	need(dprintf(script, "#!%s/script-program\n", SAFE), "script");
	close(script);
	start_program("/tmp/script-program");
}

/* A program of our own, whose ELF interpreter (PT_INTERP) is the protected program. */
static void way_elf_interpreter(void)
{
	const char interpreter[] = SAFE "/elf-program";
	const Elf64_Phdr wanted[] = {
		{.p_type = PT_INTERP, .p_offset = 512, .p_filesz = sizeof(interpreter)},
		{.p_type = PT_LOAD, .p_flags = PF_R, .p_vaddr = 0x10000000, .p_filesz = 4096, .p_memsz = 4096, .p_align = 4096},
	};
	const Elf64_Ehdr head = {
		.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
		.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_entry = 0x10000000,
		.e_phoff = sizeof(head), .e_ehsize = sizeof(head), .e_phentsize = sizeof(*wanted), .e_phnum = 2,
	};
	int file = need(open("/tmp/elf-program", O_CREAT | O_TRUNC | O_WRONLY, 0700), "program");

	need(write(file, &head, sizeof(head)), "program");
	need(write(file, wanted, sizeof(wanted)), "program");
	need(pwrite(file, interpreter, sizeof(interpreter), 512), "program");
	need(ftruncate(file, 8192), "program");
	close(file);
	start_program("/tmp/elf-program");
}

const struct way exec_ways[] = {
	{"memfd", way_memfd},
	{"exec", way_exec},
	{"execveat", way_execveat},
	{"script-program", way_script},
	{"elf-program", way_elf_interpreter},
	{},
};
