"""Where files live: any S3, or a local folder, behind one protocol (``api.ObjectStore``).

Key layout: ``blobs/sha256/<ab>/<64 hex digest>`` for verified content, ``uploads/<upload_id>`` for what is on its way.
"""
