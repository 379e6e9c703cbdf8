/* Adler-32 (RFC 1950, section 8.2). It needs no other library, the C library included. */
unsigned int adler32(const unsigned char *bytes, unsigned long length) {
  unsigned int a = 1, b = 0;
  for (unsigned long place = 0; place < length; place++) {
    a = (a + bytes[place]) % 65521;
    b = (b + a) % 65521;
  }
  return b << 16 | a;
}
