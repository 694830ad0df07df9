"""Certificates and keys of a federation, made when it is set up: an authority, a server, sites.

The server's certificate is for TLS, and signed by the authority; a site's key on the curve P-384 is
what its SuperNode signs its messages with. Private keys are readable by their owner alone. For
trying things out on one machine: hospitals have an authority of their own.
"""

import datetime
import ipaddress
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAYS = 30
CURVE = ec.SECP384R1()


def make(folder: Path, sites: tuple[str, ...]) -> None:
    """Write ca.pem, server.pem, server.key, and SITE.key and SITE.pub for each site.

    The server is localhost; the authority's own key is not kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    authority, server = ec.generate_private_key(CURVE), ec.generate_private_key(CURVE)
    root = _certificate("authority", authority.public_key(), "authority", authority)
    leaf = _certificate("localhost", server.public_key(), "authority", authority)
    (folder / "ca.pem").write_bytes(root)
    (folder / "server.pem").write_bytes(leaf)
    _secret(folder / "server.key", server, serialization.PrivateFormat.PKCS8)
    for site in sites:
        key = ec.generate_private_key(CURVE)
        _secret(folder / f"{site}.key", key, serialization.PrivateFormat.OpenSSH)
        encoding, form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        (folder / f"{site}.pub").write_bytes(key.public_key().public_bytes(encoding, form))


def _certificate(
    subject: str, key: ec.EllipticCurvePublicKey, issuer: str, signer: ec.EllipticCurvePrivateKey
) -> bytes:
    now, own = datetime.datetime.now(datetime.UTC), subject == issuer
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(subject))
        .issuer_name(_named(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if own:
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        builder = builder.add_extension(usage, critical=True)
    else:
        here = ipaddress.ip_address("127.0.0.1")
        names = [x509.DNSName("localhost"), x509.IPAddress(here)]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _secret(path: Path, key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> None:
    content = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
