/* Prints the Adler-32 of its standard input, in hexadecimal. The library beside it does the work. */
extern unsigned int adler32(const unsigned char *bytes, unsigned long length);
extern long read(int, void *, unsigned long);
extern long write(int, const void *, unsigned long);
extern void _exit(int) __attribute__((noreturn));

static unsigned char input[1 << 16];

/* Where the loader jumps to: without the C library's own start, which would ask for a newer one than needed. */
__attribute__((force_align_arg_pointer, noreturn)) void _start(void) {
  char text[9];
  unsigned long length = 0;
  for (long got; (got = read(0, input + length, sizeof input - length)) > 0;) length += got;
  unsigned int sum = adler32(input, length);
  for (int place = 7; place >= 0; place--, sum >>= 4) text[place] = "0123456789abcdef"[sum & 15];
  text[8] = '\n';
  _exit(write(1, text, sizeof text) != sizeof text);
}
