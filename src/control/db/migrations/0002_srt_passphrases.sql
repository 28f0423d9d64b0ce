-- A stream's own SRT passphrase. Unlike a stream key it must be readable, because both ends derive keys from it; so it is
-- encrypted with the key that `secrets.key_file` names, and this file alone tells nothing.
--
-- One byte of version (1), 12 bytes of nonce, and ChaCha20-Poly1305's ciphertext and tag over 10 to 79 bytes, with the
-- stream's id as associated data. NULL: none, so the listener's decides.
ALTER TABLE streams ADD COLUMN srt_passphrase BLOB CHECK (length(srt_passphrase) BETWEEN 39 AND 108);
