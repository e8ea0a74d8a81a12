//! The ciphers, in upstream's layouts: a random vector or nonce, then the encrypted value.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockDecryptMut, BlockEncryptMut, KeyInit as _, KeyIvInit};
use aes::{Aes128, Aes192, Aes256};
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm};
use crypto_secretbox::XSalsa20Poly1305;
use rand::TryRng;
use rand::rngs::SysRng;

use super::Error;

const BLOCK: usize = 16;
const GCM_NONCE: usize = 12;
const BOX_NONCE: usize = 24;
const BOX_TAG: usize = 16;

/// A cipher with its key.
pub(super) enum Cipher {
    /// AES in CBC mode with PKCS #7 padding. The key, of 16, 24 or 32 bytes, is set up for each value.
    Cbc(Vec<u8>),
    Gcm128(Box<Aes128Gcm>),
    Gcm192(Box<AesGcm<Aes192, U12>>),
    Gcm256(Box<Aes256Gcm>),
    /// NaCl's secretbox.
    Box(Box<XSalsa20Poly1305>),
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

impl Cipher {
    pub(super) fn cbc(key: &[u8]) -> Option<Self> {
        matches!(key.len(), 16 | 24 | 32).then(|| Cipher::Cbc(key.to_vec()))
    }

    pub(super) fn gcm(key: &[u8]) -> Option<Self> {
        Some(match key.len() {
            16 => Cipher::Gcm128(Box::new(Aes128Gcm::new_from_slice(key).ok()?)),
            24 => Cipher::Gcm192(Box::new(AesGcm::new_from_slice(key).ok()?)),
            32 => Cipher::Gcm256(Box::new(Aes256Gcm::new_from_slice(key).ok()?)),
            _ => return None,
        })
    }

    pub(super) fn secretbox(key: &[u8]) -> Option<Self> {
        XSalsa20Poly1305::new_from_slice(key).ok().map(|cipher| Cipher::Box(Box::new(cipher)))
    }

    /// Appends the encrypted value. `context` must be given to read it again, where the cipher can hold it.
    pub(super) fn seal(&self, value: &[u8], context: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            Cipher::Cbc(key) => {
                let vector: [u8; BLOCK] = random()?;
                let padding = BLOCK - value.len() % BLOCK;
                out.extend(vector);
                let start = out.len();
                out.extend(value);
                out.extend(std::iter::repeat_n(padding as u8, padding));
                cbc_encrypt(key, &vector, &mut out[start..])
            }
            Cipher::Gcm128(cipher) => gcm_seal(&**cipher, value, context, out),
            Cipher::Gcm192(cipher) => gcm_seal(&**cipher, value, context, out),
            Cipher::Gcm256(cipher) => gcm_seal(&**cipher, value, context, out),
            Cipher::Box(cipher) => {
                let nonce: [u8; BOX_NONCE] = random()?;
                out.extend(nonce);
                out.extend(cipher.encrypt(&nonce.into(), value).map_err(|_| Error::Forged)?);
                Ok(())
            }
        }
    }

    /// Decrypts a value.
    pub(super) fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, Error> {
        match self {
            Cipher::Cbc(key) => {
                let (vector, value) = sealed.split_at_checked(BLOCK).ok_or(Error::TooShort)?;
                if value.len() % BLOCK != 0 {
                    return Err(Error::Blocks);
                }
                let mut value = value.to_vec();
                cbc_decrypt(key, vector, &mut value)?;
                let padding = usize::from(*value.last().ok_or(Error::Padding)?);
                let size = value.len().checked_sub(padding).filter(|_| padding > 0).ok_or(Error::Padding)?;
                if value[size..].iter().any(|byte| usize::from(*byte) != padding) {
                    return Err(Error::Padding);
                }
                value.truncate(size);
                Ok(value)
            }
            Cipher::Gcm128(cipher) => gcm_open(&**cipher, sealed, context),
            Cipher::Gcm192(cipher) => gcm_open(&**cipher, sealed, context),
            Cipher::Gcm256(cipher) => gcm_open(&**cipher, sealed, context),
            Cipher::Box(cipher) => {
                let (nonce, value) = sealed.split_first_chunk::<BOX_NONCE>().ok_or(Error::TooShort)?;
                if value.len() < BOX_TAG {
                    return Err(Error::TooShort);
                }
                cipher.decrypt(&(*nonce).into(), value).map_err(|_| Error::Forged)
            }
        }
    }
}

fn gcm_seal(
    cipher: &impl Aead<NonceSize = U12>,
    value: &[u8],
    context: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let nonce: [u8; GCM_NONCE] = random()?;
    let payload = Payload { msg: value, aad: context };
    out.extend(nonce);
    out.extend(cipher.encrypt(&nonce.into(), payload).map_err(|_| Error::Forged)?);
    Ok(())
}

fn gcm_open(cipher: &impl Aead<NonceSize = U12>, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, Error> {
    let (nonce, value) = sealed.split_first_chunk::<GCM_NONCE>().ok_or(Error::TooShort)?;
    let payload = Payload { msg: value, aad: context };
    cipher.decrypt(&(*nonce).into(), payload).map_err(|_| Error::Forged)
}

/// Encrypts whole blocks in place.
fn cbc_encrypt(key: &[u8], vector: &[u8], blocks: &mut [u8]) -> Result<(), Error> {
    fn run<C: BlockEncryptMut + KeyIvInit>(
        key: &[u8],
        vector: &[u8],
        blocks: &mut [u8],
    ) -> Result<(), Error> {
        let cipher = C::new_from_slices(key, vector).map_err(|_| Error::TooShort)?;
        let size = blocks.len();
        cipher.encrypt_padded_mut::<NoPadding>(blocks, size).map(drop).map_err(|_| Error::Blocks)
    }
    match key.len() {
        16 => run::<cbc::Encryptor<Aes128>>(key, vector, blocks),
        24 => run::<cbc::Encryptor<Aes192>>(key, vector, blocks),
        _ => run::<cbc::Encryptor<Aes256>>(key, vector, blocks),
    }
}

/// Decrypts whole blocks in place.
fn cbc_decrypt(key: &[u8], vector: &[u8], blocks: &mut [u8]) -> Result<(), Error> {
    fn run<C: BlockDecryptMut + KeyIvInit>(
        key: &[u8],
        vector: &[u8],
        blocks: &mut [u8],
    ) -> Result<(), Error> {
        let cipher = C::new_from_slices(key, vector).map_err(|_| Error::TooShort)?;
        cipher.decrypt_padded_mut::<NoPadding>(blocks).map(drop).map_err(|_| Error::Blocks)
    }
    match key.len() {
        16 => run::<cbc::Decryptor<Aes128>>(key, vector, blocks),
        24 => run::<cbc::Decryptor<Aes192>>(key, vector, blocks),
        _ => run::<cbc::Decryptor<Aes256>>(key, vector, blocks),
    }
}
